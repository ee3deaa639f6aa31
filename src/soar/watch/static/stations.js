// A tile for each station: what it sees, tries and needs, and its commands.

import { button, count, duration, el, icon, keepShape, outcomeIcon, percent, setText } from "./dom.js";
import { attempt, isTyping } from "./main.js";

const OLD_S = 3;
const WORDS = { pause: "pauses after this episode", stop: "stops after this episode", emergency: "held", released: "released" };

export function open(root, page) {
  const tiles = new Map();
  const grid = el("div", { className: "tiles" });
  const empty = el("p", { className: "empty" }, "No station has collected here yet. As soon as one begins, it appears.");
  empty.hidden = !page.values("store")[""];
  root.append(empty, grid);

  const tileOf = name => {
    if (!tiles.has(name)) {
      const tile = makeTile(name, page);
      tiles.set(name, tile);
      const after = [...tiles.keys()].filter(n => n.localeCompare(name, undefined, { numeric: true }) > 0).sort((a, b) => a.localeCompare(b, undefined, { numeric: true }))[0];
      grid.insertBefore(tile.root, after ? tiles.get(after).root : null);
      empty.hidden = true;
      grid.classList.toggle("few", tiles.size <= 4);
    }
    return tiles.get(name);
  };
  for (const value of Object.values(page.values("station"))) tileOf(value.name).show(value);
  for (const value of Object.values(page.values("picture"))) tileOf(value.name).picture(value);
  const ends = [
    page.on("station", value => tileOf(value.name).show(value)),
    page.on("picture", value => tileOf(value.name).picture(value)),
    page.on("store", () => { empty.hidden = tiles.size > 0; }),
  ];
  const timer = setInterval(() => tiles.forEach(tile => tile.tick()), 250);

  const onKey = event => {
    if (isTyping(event)) return;
    const shown = [...grid.children];
    const at = shown.indexOf(document.activeElement?.closest(".tile"));
    const columns = Math.max(1, shown.filter(t => t.offsetTop === shown[0]?.offsetTop).length);
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (move && shown.length) {
      shown[at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + move))].focus();
      event.preventDefault();
    } else if (at >= 0) {
      tiles.get(shown[at].dataset.name).key(event.key);
    }
  };
  document.addEventListener("keydown", onKey);
  return () => { ends.forEach(end => end()); clearInterval(timer); document.removeEventListener("keydown", onKey); };
}

function makeTile(name, page) {
  const parts = {
    frame: el("img", { className: "frame", alt: "", hidden: true }), subgoal: el("img", { className: "subgoal", alt: "", hidden: true }),
    none: el("div", { className: "none" }, "no picture yet"), dot: el("span", { className: "dot" }), activity: el("span"), age: el("span", { className: "age", hidden: true }),
    bar: el("i"), task: el("div", { className: "task" }), outcomes: el("div", { className: "outcomes" }), facts: el("div", { className: "facts" }),
    needs: el("div", { className: "needs", hidden: true }), command: el("span", { className: "command" }),
  };
  const chip = el("div", { className: "chip" }, parts.dot, el("span", {}, name), parts.activity);
  const view = el("div", { className: "view" }, parts.none, parts.frame, parts.subgoal, chip, parts.age, el("div", { className: "steps" }, parts.bar));
  parts.frame.addEventListener("load", () => keepShape(view, parts.frame));
  const toggle = button("Pause", { image: "pause", key: "p", disabled: !page.maySteer, onclick: () => toggleRun() });
  const stop = button("Stop", { image: "stop", key: "x", disabled: !page.maySteer, onclick: () => page.command("stop", name) });
  const release = button("Release", { image: "hand", key: "r", hidden: true, disabled: !page.maySteer, onclick: () => page.command("release", name) });
  const tasks = el("button", { type: "button", className: "quiet", title: "Tasks (t)", "aria-label": `Tasks of ${name}`, disabled: !page.maySteer, onclick: () => editTasks(station, page) }, icon("list"));
  const tile = el("article", { className: "tile", tabIndex: 0, dataset: { name }, "aria-label": `Station ${name}` },
    view, parts.needs, el("div", { className: "body" }, parts.task, parts.outcomes, parts.facts), el("div", { className: "actions" }, toggle, stop, release, parts.command, tasks));
  let station = { name, tasks: [] }, seen = null;

  const runs = () => station.command === "run" && station.activity !== "held";
  const toggleRun = () => page.command(runs() ? "pause" : "resume", name);

  function show(value) {
    station = value;
    parts.dot.className = `dot ${value.activity}`;
    setText(parts.activity, value.activity);
    setText(parts.task, value.activity === "stopped" || value.doing === value.person ? "" : value.doing || "");
    if (!seen && value.outcomes.length) showLastFrame(value.outcomes.at(-1));
    showNeeds(value);
    const ids = value.outcomes.map(o => o.id).join();
    if (parts.outcomes.dataset.ids !== ids) {
      parts.outcomes.dataset.ids = ids;
      parts.outcomes.replaceChildren(...value.outcomes.map(o => el("a", { className: o.outcome, href: `#/episodes/${o.id}`, tabIndex: -1, title: `${o.task}: ${o.outcome}` }, outcomeIcon(o.outcome))));
    }
    parts.facts.replaceChildren(...facts(value));
    const label = runs() ? "Pause" : "Resume";
    setText(toggle.lastChild, label);
    toggle.title = `${label} (p)`;
    toggle.firstChild.replaceWith(icon(runs() ? "pause" : "play"));
    const over = ["stopped", "gone", "broken"].includes(value.activity);
    const held = value.command === "emergency";
    release.hidden = !held;
    stop.disabled = !page.maySteer || over;
    toggle.disabled = stop.disabled || held;
    const pending = over || value.command === "run" || value.command === "pause" && value.activity === "paused" || value.activity === "held";
    setText(parts.command, pending ? "" : WORDS[value.command] || "");
    tick();
  }

  function showNeeds(value) {
    const mild = !["gone", "broken", "held"].includes(value.activity);
    parts.needs.hidden = !value.person;
    if (value.person && parts.needs.dataset.words !== value.person) {
      parts.needs.dataset.words = value.person;
      parts.needs.replaceChildren(icon("person"), el("span", {}, value.person));
    }
    parts.needs.classList.toggle("mild", mild);
    tile.classList.toggle("person", Boolean(value.person));
    tile.classList.toggle("mild", Boolean(value.person) && mild);
  }

  /** Before the first live picture: the end of the last episode. */
  function showLastFrame(episode) {
    const url = `/api/episodes/${episode.id}/image/${episode.length}.jpg`;
    if (parts.frame.getAttribute("src") !== url) parts.frame.src = url;
    parts.frame.alt = `The last episode's end at ${name}`;
    parts.none.hidden = true;
    parts.frame.hidden = false;
  }

  function picture(value) {
    seen = value;
    parts.none.hidden = true;
    parts.frame.hidden = parts.age.hidden = false;
    parts.frame.src = `data:image/jpeg;base64,${value.image}`;
    parts.frame.alt = `What ${name} sees`;
    parts.subgoal.hidden = !value.subgoal;
    if (value.subgoal) {
      parts.subgoal.src = `data:image/jpeg;base64,${value.subgoal}`;
      parts.subgoal.alt = "Its subgoal";
    }
    parts.bar.style.width = `${(100 * (value.step + 1)) / value.steps}%`;
    parts.bar.parentElement.title = `step ${value.step + 1} of ${value.steps}`;
    tick();
  }

  function tick() {
    const age = seen ? page.age(seen.time_s) : Infinity;
    const over = ["stopped", "gone", "broken"].includes(station.activity);
    tile.classList.toggle("old", over || age > OLD_S);
    if (seen) setText(parts.age, age < 1.5 ? "now" : `${duration(age)} ago`);
  }

  function key(pressed) {
    if (!page.maySteer) return;
    if (pressed === "p" && !toggle.disabled) toggleRun();
    else if (pressed === "x" && !stop.disabled) page.command("stop", name);
    else if (pressed === "r" && !release.hidden) page.command("release", name);
    else if (pressed === "t") editTasks(station, page);
  }
  return { root: tile, show, picture, tick, key };
}

function facts(value) {
  const late = value.late_ms != null && `${value.late_ms.toFixed(0)} ms late`;
  const rows = [
    [count(value.episodes, "episode"), "", `${value.per_hour.toFixed(0)} an hour`],
    [value.duty_cycle != null && `${percent(value.duty_cycle)} moving`, "", "Share of time in which the arm moved"],
    [late, value.late_ms > 20 ? "late" : "", "Mean lateness of a control step"],
    [value.dropped && `${value.dropped} dropped`, "faults", "Episodes broken off"],
    [value.faults && count(value.faults, "fault"), "faults", value.event ? `${value.event.kind}: ${value.event.message}` : ""],
    [value.edited && "own task list", "", value.tasks.join("\n")],
  ];
  return rows.filter(([words]) => words).map(([words, className, title]) => el("span", { className, title }, words));
}

async function editTasks(station, page) {
  const text = el("textarea", { value: station.tasks.join("\n"), spellcheck: false, "aria-label": "Tasks, one on each line" });
  const save = async tasks => {
    const done = await attempt(() => page.post(`/api/stations/${encodeURIComponent(station.name)}/tasks`, { tasks }));
    if (!done) return;
    page.toast(tasks.length ? `${station.name}: ${count(tasks.length, "task")} from its next episode on` : `${station.name}: its own tasks from the next episode on`);
    text.closest("dialog").close();
  };
  const lines = () => text.value.split("\n").map(line => line.trim()).filter(Boolean);
  await page.ask(el("form", { method: "dialog", onsubmit: event => { event.preventDefault(); save(lines()); } },
    el("h2", {}, `Tasks of ${station.name}`), el("p", { className: "soft" }, "One on each line. They count from the next episode on, also after a restart; a task without a question is refused, and the list stays as it was."), text,
    el("div", { className: "row" }, button("Its own list", { className: "quiet", onclick: () => save([]) }), button("Cancel", { onclick: () => text.closest("dialog").close() }), el("button", { className: "primary" }, "Save"))));
}
