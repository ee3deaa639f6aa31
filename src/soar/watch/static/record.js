// Demonstrations by a person: the arm's picture, the keys that move it, and the task.

import { el, keepShape, setText } from "./dom.js";
import { attempt, isInField, isTyping } from "./main.js";

const HOLD_MS = 250, REPEAT_MS = 80; // a tap is one press; a key that stays down is pressed again and again
const NAMES = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right", Enter: "\n" };
const MOTIONS = ["up", "down", "left", "right", "w", "s", "a", "d"];
const COMMANDS = ["\n", "x", "n", "q", "g", " ", "r", "c"];

export function open(root, page) {
  const keys = sender(page);
  const image = el("img", { className: "frame", alt: "What the arm sees", hidden: true });
  const view = el("div", { className: "view" }, image);
  image.addEventListener("load", () => keepShape(view, image));
  const state = el("p", { className: "state", role: "status" }), counts = el("p", { className: "soft" }), problem = el("p", { className: "bad" });
  const task = el("input", { type: "search", name: "task", autocomplete: "off", disabled: !page.maySteer, "aria-label": "Task: choose one, or write a new one" });
  const offered = el("datalist", { id: "record-tasks" });
  task.setAttribute("list", "record-tasks");
  const choose = async () => {
    const wanted = task.value.trim();
    task.blur();
    if (wanted && wanted !== shown.task) await attempt(() => page.post("/api/record/task", { task: wanted }));
    else task.value = shown.task || "";
  };
  task.addEventListener("change", choose);
  const key = (name, label, words) => keyButton(name, label, words, keys, page.maySteer);
  const start = key("\n", "Enter", "Start"), stop = key(" ", "space", "Stop");
  start.classList.add("primary");
  stop.classList.add("emergency");
  const device = el("p", { className: "soft" });
  root.append(el("div", { className: "record" }, view, el("div", { className: "side card" },
    el("form", { onsubmit: event => { event.preventDefault(); choose(); } }, el("label", {}, el("small", {}, "Task"), task), offered),
    state, counts, problem,
    el("div", { className: "choices" }, start, key("x", "x", "Throw away"), key("n", "n", "Next task"), key("q", "q", "End"), stop, key("r", "r", "Release"), key("c", "c", "Continue")),
    el("div", { className: "pad" }, key("w", "w", "Up"), key("up", "↑", "Away"), key("s", "s", "Down"), key("left", "←", "Left"), key("g", "g", "Gripper"), key("right", "→", "Right"), key("a", "a", "Turn left"), key("down", "↓", "Closer"), key("d", "d", "Turn right")),
    device)));
  let shown = {}, open = true;

  function show(value) {
    const isNew = value.task !== shown.task;
    shown = value;
    image.hidden = false;
    image.src = `data:image/jpeg;base64,${value.image}`;
    if (isNew && document.activeElement !== task) task.value = value.task;
    if (offered.children.length !== value.tasks.length) offered.replaceChildren(...value.tasks.map(t => el("option", { value: t })));
    const held = value.state.startsWith("held");
    setText(state, value.ended ? "ended" : value.running && !held ? `recording, step ${value.step}` : value.state);
    state.className = held ? "state bad" : value.running ? "state running" : "state";
    setText(counts, `${value.kept} kept, ${value.discarded} thrown away`);
    setText(problem, value.problem);
    setText(device, value.help);
    setText(start.firstChild, value.running ? "Keep" : "Start");
    task.disabled = !page.maySteer || value.running;
  }

  async function look() {
    for (let number = 0; open;) {
      try {
        const value = await page.get(`/api/record?after=${number}`);
        if (value.image && open) show(value);
        if (value.ended) return;
        number = value.number;
      } catch {
        await new Promise(done => setTimeout(done, 1000)); // the page's line of notice says why
      }
    }
  }

  const pressed = new Map(); // physical key -> name as which it went down; Shift and other layouts change that of its keyup
  const onKey = event => {
    const place = event.code || event.key.toLowerCase();
    const name = event.type === "keyup" ? pressed.get(place) : wanted(event);
    if (!name) return;
    event.preventDefault(); // no scrolling, and no click on the button that was used last
    event.stopPropagation();
    if (event.type === "keyup") keys.up(name);
    else {
      pressed.set(place, name);
      if (!event.repeat && page.maySteer) keys.down(name);
    }
  };
  /** The name of a key that goes down for the arm; null for another. Space always stops it, except in a field. */
  const wanted = event => {
    const name = NAMES[event.key] || event.key;
    if (isTyping(event)) {
      keys.release();
      return name === " " && !isInField(event) ? name : null;
    }
    return [...MOTIONS, ...COMMANDS].includes(name) ? name : null;
  };
  for (const type of ["keydown", "keyup"]) document.addEventListener(type, onKey, true);
  addEventListener("blur", keys.release);
  document.addEventListener("visibilitychange", keys.release);
  const endOfDialogs = page.on("dialog", keys.release);
  look();
  return () => {
    open = false;
    keys.end();
    endOfDialogs();
    removeEventListener("blur", keys.release);
    document.removeEventListener("visibilitychange", keys.release);
    for (const type of ["keydown", "keyup"]) document.removeEventListener(type, onKey, true);
  };
}

/** Sends keys: each once when it goes down, and those of the motion again for as long as they are. */
function sender(page) {
  const down = new Map(); // key -> time at which it went down
  let waiting = [], busy = false;

  async function send() {
    const now = performance.now();
    const held = [...down].filter(([, since]) => now - since > HOLD_MS).map(([key]) => key);
    if (busy || !(waiting.length + held.length)) return;
    const keys = [...waiting, ...held.filter(key => !waiting.includes(key))];
    waiting = [];
    busy = true;
    await attempt(() => page.post("/api/record/keys", { keys }));
    busy = false;
    if (waiting.length) send();
  }
  const timer = setInterval(send, REPEAT_MS);
  return {
    down(key) {
      if (MOTIONS.includes(key)) down.set(key, performance.now());
      waiting.push(key);
      send();
    },
    up: key => down.delete(key),
    release: () => down.clear(),
    end() { clearInterval(timer); down.clear(); },
  };
}

/** A button that is a key, also for fingers: it is down for as long as it is pressed. */
function keyButton(name, label, words, keys, enabled) {
  const up = () => keys.up(name);
  return el("button", {
    type: "button", tabIndex: -1, disabled: !enabled, dataset: { key: label },
    onpointerdown: event => { event.preventDefault(); keys.down(name); },
    onpointerup: up, onpointerleave: up, onpointercancel: up, oncontextmenu: event => event.preventDefault(),
  }, el("span", {}, words), el("kbd", {}, label));
}
