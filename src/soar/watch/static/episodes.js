// Episodes: the list with filters, and one of them with its film, answers, label and provenance.

import { button, clock, count, el, outcomeIcon, percent } from "./dom.js";
import { makeFilm } from "./film.js";
import { choices, setLabel } from "./label.js";
import { attempt, isTyping } from "./main.js";

export function open(root, page, id) {
  return id ? openOne(root, page, id) : openList(root, page);
}

function openList(root, page) {
  const filters = { task: "", station: "", outcome: "", label: "" };
  const total = el("span", { className: "soft" });
  const grid = el("div", { className: "episodes" });
  const more = el("div", { className: "more", hidden: true }, button("Show more", { onclick: () => load(grid.children.length) }));
  const selects = {};
  const bar = el("div", { className: "filters" });
  for (const [name, words] of [["task", "all tasks"], ["station", "all stations"], ["outcome", "all verdicts"], ["label", "with or without label"]]) {
    selects[name] = el("select", { "aria-label": name, onchange: event => { filters[name] = event.target.value; load(); } }, el("option", { value: "" }, words));
    bar.append(selects[name]);
  }
  for (const value of ["success", "failure", "unknown"]) selects.outcome.append(el("option", { value }, `verdict ${value}`));
  for (const value of ["success", "failure", "unsure", "none"]) selects.label.append(el("option", { value }, value === "none" ? "without label" : `labeled ${value}`));
  bar.append(total);
  root.append(bar, grid, more);

  async function load(from = 0) {
    const query = new URLSearchParams({ ...filters, from });
    const found = await attempt(() => page.get(`/api/episodes?${query}`));
    if (!found) return;
    fillSelect(selects.task, found.tasks);
    fillSelect(selects.station, found.stations);
    total.textContent = count(found.total, "episode");
    const cards = found.episodes.map(card);
    if (from) grid.append(...cards);
    else grid.replaceChildren(...(cards.length ? cards : [el("p", { className: "empty" }, "No such episode.")]));
    more.hidden = grid.children.length >= found.total;
  }
  load();
  return page.on("store", () => { if (scrollY < 200 && grid.children.length <= 48 && !grid.contains(document.activeElement)) load(); });
}

function fillSelect(select, values) {
  const known = new Set([...select.options].map(o => o.value));
  for (const value of values) if (!known.has(value)) select.append(el("option", { value }, value));
}

function card(episode) {
  return el("a", { className: "episode", href: `#/episodes/${episode.id}` },
    el("img", { src: `/api/episodes/${episode.id}/image/${episode.length}.jpg`, alt: "", loading: "lazy" }),
    el("div", {}, el("span", {}, episode.task), verdictWords(episode), el("span", { className: "soft" }, `${episode.station} · ${clock(episode.started_s)}`)));
}

function verdictWords(episode) {
  const p = episode.p == null ? "" : ` · P ${episode.p.toFixed(2)}`;
  const label = episode.label ? ` · labeled ${episode.label}` : "";
  return el("span", { className: episode.outcome }, outcomeIcon(episode.outcome), ` ${episode.outcome}${p}`, el("span", { className: "soft" }, label));
}

function openOne(root, page, id) {
  let film = null, detail = null;
  const label = async word => {
    if (!(await setLabel(page, id, word))) return;
    detail.label = word;
    draw();
  };
  const buttons = el("div");
  const draw = () => buttons.replaceChildren(choices(page, detail.label, label));

  (async () => {
    detail = await attempt(() => page.get(`/api/episodes/${encodeURIComponent(id)}`));
    if (!detail) return root.append(el("p", { className: "empty" }, "There is no such episode."));
    film = makeFilm(detail, page);
    draw();
    root.append(el("p", {}, el("a", { href: "#/episodes" }, "← All episodes")),
      el("div", { className: "detail" }, film.element, el("div", { className: "side" }, verdictCard(detail, buttons), answersCard(detail), originCard(detail))));
    return null;
  })();
  const onKey = event => {
    if (isTyping(event) || !film || film.key(event)) return;
    const word = { s: "success", f: "failure", u: "unsure" }[event.key];
    if (word && page.maySteer) label(word);
  };
  document.addEventListener("keydown", onKey);
  return () => { document.removeEventListener("keydown", onKey); film?.close(); };
}

function verdictCard(detail, buttons) {
  const verdict = detail.verdict;
  const source = [verdict.judge && `by ${verdict.judge}`, verdict.question && `“${verdict.question}”`].filter(Boolean).join(": ");
  const votes = (verdict.votes || []).map(vote => el("li", {}, `${vote.judge || "vote"}: ${vote.p_success == null ? "unknown" : `P ${vote.p_success.toFixed(2)}`} ${vote.raw || ""}`));
  return el("section", { className: "card" }, el("h2", {}, detail.task),
    el("div", { className: `verdict ${detail.outcome}` }, outcomeIcon(detail.outcome), detail.outcome, el("small", { className: "soft" }, detail.p == null ? "" : `P(success) ${detail.p.toFixed(3)}`)),
    el("p", { className: "soft" }, source), ...(votes.length ? [el("ul", {}, ...votes)] : []), el("h3", {}, "Your label"), buttons);
}

function answersCard(detail) {
  const before = new Map(detail.provenance.answers_before.map(a => [a[0], a]));
  const after = new Map(detail.provenance.answers_after.map(a => [a[0], a]));
  const questions = [...new Set([...before.keys(), ...after.keys()])];
  if (!questions.length) return null;
  const words = answer => (answer ? (answer[1] == null ? "unknown" : percent(answer[1])) : "");
  const rows = questions.map(q => el("tr", {}, el("td", {}, q), el("td", { title: before.get(q)?.[2] || "" }, words(before.get(q))), el("td", { title: after.get(q)?.[2] || "" }, words(after.get(q)))));
  return el("section", { className: "card" }, el("h3", {}, "Answers: probability of yes"),
    el("div", { className: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...["question", "before", "after"].map(h => el("th", {}, h)))), el("tbody", {}, ...rows))));
}

function originCard(detail) {
  const origin = detail.provenance, proposal = origin.proposal;
  const rows = [
    ["station", origin.station], ["scene", origin.scene], ["started", clock(origin.started_s)], ["checkpoint", origin.checkpoint], ["round", origin.round || ""],
    ["seed", origin.seed], ["chosen because", proposal?.reason], ["feasible", proposal ? `${proposal.feasible.length} tasks` : ""],
    ["exploration", Object.entries(origin.exploration || {}).map(([k, v]) => `${k} ${v}`).join(", ")], ["steps of a person", detail.interventions || ""],
    ["faults before", origin.faults.join("; ")], ["simulator's truth", origin.truth == null ? "" : origin.truth ? "success" : "failure"],
    ["code", origin.code_version], ["configuration", origin.config_hash], ["id", detail.id],
  ].filter(([, value]) => value !== "" && value != null);
  return el("section", { className: "card" }, el("h3", {}, "Provenance"), el("dl", {}, ...rows.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, String(v))])),
    el("p", {}, el("a", { href: `/api/episodes/${detail.id}/film.mp4`, download: `${detail.id}.mp4` }, "Save the film as mp4")),
    el("details", {}, el("summary", {}, "Everything as JSON"), el("pre", {}, JSON.stringify({ verdict: detail.verdict, provenance: origin, contract: detail.contract }, null, 1))));
}
