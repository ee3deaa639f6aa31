// Results: success over time and rounds, tasks, stations, and the detector against labels and truth.

import { curve, range, whiskers } from "./chart.js";
import { el, numbers, percent } from "./dom.js";
import { attempt } from "./main.js";

export function open(root, page) {
  let busy = false, again = false;
  async function load() {
    if (busy) { again = true; return; }
    busy = true;
    const found = await attempt(() => page.get("/api/results"));
    busy = false;
    if (found && root.isConnected) draw(root, found);
    if (again) { again = false; load(); }
  }
  load();
  return page.on("store", load);
}

function draw(root, found) {
  if (!found.episodes && !found.evaluations.length) {
    root.replaceChildren(el("p", { className: "empty" }, "No episode is stored yet."));
    return;
  }
  const judged = found.tasks.reduce((n, t) => n + t.judged, 0), successes = found.tasks.reduce((n, t) => n + t.successes, 0);
  const share = judged ? percent(successes / judged) : "–";
  root.replaceChildren(
    numbers([[found.episodes, "episodes"], [share, "judged a success"], [found.tasks.length, found.tasks.length === 1 ? "task" : "tasks"], [found.labels.judged + found.labels.unknown + found.unsure, "labels of a person"]]),
    el("div", { className: "columns" }, timeCard(found), evaluationsCard(found), confusion("The detector against a person's labels", found.labels, labelHint(found)), confusion("The detector against the simulator's truth", found.truth, ""), groups("Tasks", found.tasks, true), found.rounds.length > 1 ? groups("Rounds", found.rounds.map(r => ({ ...r, name: `round ${r.name}` }))) : null,
      found.stations.length > 1 ? groups("Stations", found.stations) : null),
  );
  for (const child of [...root.lastChild.children]) if (!child.textContent) child.remove();
}

function timeCard(found) {
  if (found.over_time.length < 2) return null;
  return el("section", { className: "card" }, el("h2", {}, "Success over time"), curve(found.over_time, found.starts, "Success over time"),
    el("p", { className: "soft" }, `Share of successes among the last ${found.window} judged episodes, with its 95 % interval; below, the number of the episode.`));
}

function evaluationsCard(found) {
  if (!found.evaluations.length) return null;
  const rows = found.evaluations.map(e => ({ ...e, name: e.round ? `after round ${e.round}` : "before", words: `${percent(e.value)} of ${e.trials} trials` }));
  return el("section", { className: "card" }, el("h2", {}, "Success in evaluations"), whiskers(rows, "Success in evaluations"), el("p", { className: "soft" }, rows.map(r => `${r.name}: ${r.words}`).join(" · ")));
}

function groups(title, rows, wide = false) {
  const line = row => {
    const words = `${percent(row.value)} (${percent(row.low)} to ${percent(row.high)})`;
    return el("tr", {}, el("td", {}, row.name), el("td", {}, row.attempts), el("td", {}, row.unknown || ""), el("td", { title: `${row.successes} of ${row.judged}` }, row.judged ? percent(row.value) : ""), el("td", { className: "plot" }, row.judged ? range(row, words) : ""));
  };
  return el("section", { className: `card ${wide ? "wide" : ""}` }, el("h2", {}, title), el("div", { className: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...["", "attempts", "not judged", "success", "95 % interval"].map(h => el("th", {}, h)))), el("tbody", {}, ...rows.map(line)))));
}

function labelHint(found) {
  const all = found.labels.judged + found.labels.unknown;
  if (!all) return "Label a few dozen episodes to see how far the verdicts can be trusted.";
  return `${all} labels${found.unsure ? `, and ${found.unsure} unsure` : ""}, in ${found.labels_file}. \`soar vlm calibrate\` chooses a threshold from them.`;
}

function confusion(title, counts, hint) {
  if (!counts.judged && !hint) return null;
  const section = el("section", { className: "card" }, el("h2", {}, title));
  if (counts.judged) {
    const cell = (n, words, kind) => el("td", {}, el("b", { className: kind }, n), el("span", {}, words));
    const rate = (name, words) => el("div", {}, el("b", {}, percent(counts[name].value)), el("span", {}, `${words}; ${percent(counts[name].low)} to ${percent(counts[name].high)}`));
    section.append(el("table", { className: "confusion" }, el("tbody", {},
      el("tr", {}, el("th", {}), el("th", {}, "really a success"), el("th", {}, "really a failure")),
      el("tr", {}, el("th", {}, "judged success"), cell(counts.true_success, "right", "good"), cell(counts.false_success, "wrong", "bad")),
      el("tr", {}, el("th", {}, "judged failure"), cell(counts.false_failure, "wrong", "bad"), cell(counts.true_failure, "right", "good")))),
    el("div", { className: "numbers" }, rate("accuracy", "accuracy"), rate("precision", "precision"), rate("recall", "recall")));
  }
  if (hint) section.append(el("p", { className: "soft" }, hint));
  return section;
}
