// An episode's film: frames with the subgoal in force, a scrubber, marks of subgoals, a critic's value.

import { button, el, icon, keepShape, svg } from "./dom.js";
import { attempt } from "./main.js";

const SPEED_MS = 70;

/** Show a film in an element; returns { key, close, element }. `detail`: the answer of /api/episodes/ID. */
export function makeFilm(detail, page) {
  const last = detail.length;
  const url = (column, step) => `/api/episodes/${detail.id}/${column}/${step}.jpg`;
  const frame = el("img", { className: "frame", alt: `Frame of: ${detail.task}` });
  const subgoal = el("img", { className: "subgoal", alt: "Subgoal in force", hidden: true });
  const caption = el("span", { className: "caption" });
  const picture = el("div", { className: "picture" }, frame, subgoal, caption);
  frame.addEventListener("load", () => keepShape(picture, frame));
  const range = el("input", { type: "range", min: 0, max: last, value: 0, "aria-label": "Step" });
  const marks = el("div", { className: "marks" });
  for (const step of detail.subgoals) {
    const mark = el("i", { title: `subgoal at step ${step}` });
    mark.style.left = `${(100 * step) / Math.max(1, last)}%`;
    marks.append(mark);
  }
  const play = button("Play", { image: "play", key: "space", onclick: () => toggle() });
  const track = el("div", { className: "track" }, play, el("div", { className: "lane" }, range, marks));
  const element = el("div", { className: "film" }, el("div", { className: "screen" }, picture), track);
  const loaded = [];
  let timer = null, cursor = null;

  function preload() {
    for (let step = 0; step <= last; step++) {
      loaded[step] = new Image();
      loaded[step].src = url("image", step);
    }
  }

  function show(step) {
    range.value = step;
    frame.src = loaded[step]?.src || url("image", step);
    const current = detail.subgoals.filter(s => s <= step).pop();
    subgoal.hidden = current === undefined;
    if (current !== undefined) subgoal.src = url("subgoal", current);
    caption.textContent = `step ${step} of ${last} · ${detail.times_s[step].toFixed(1)} s · gripper ${step < last ? detail.gripper[step].toFixed(2) : "–"}`;
    if (cursor) cursor.setAttribute("transform", `translate(${step} 0)`);
  }

  function toggle() {
    if (timer) return pause();
    if (Number(range.value) >= last) show(0);
    timer = setInterval(() => (Number(range.value) < last ? show(Number(range.value) + 1) : pause()), SPEED_MS);
    face("Pause", "pause");
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    face("Play", "play");
  }

  function face(words, image) {
    play.lastChild.textContent = words;
    play.firstChild.replaceWith(icon(image));
  }

  async function drawValues() {
    const found = await attempt(() => page.get(`/api/episodes/${detail.id}/values`));
    const values = found?.values || [];
    if (values.length < 2) return;
    const low = Math.min(...values), height = Math.max(1e-6, Math.max(...values) - low);
    const points = values.map((v, step) => `${step},${(1 - (v - low) / height).toFixed(4)}`).join(" ");
    cursor = svg("line", { class: "now", y1: 0, y2: 1, x1: 0, x2: 0, "vector-effect": "non-scaling-stroke" });
    const chart = svg("svg", { class: "chart", viewBox: `0 0 ${last} 1`, preserveAspectRatio: "none", role: "img", "aria-label": "Value of the executed action" },
      svg("polyline", { class: "line", points, "vector-effect": "non-scaling-stroke" }), cursor);
    track.append(el("div", { className: "curve" }, chart), el("p", { className: "legend" }, `the critic's value of the executed action, from ${low.toFixed(2)} to ${(low + height).toFixed(2)}`));
    show(Number(range.value));
  }

  range.addEventListener("input", () => { pause(); show(Number(range.value)); });
  preload();
  show(0);
  if (detail.has_critic) drawValues();

  /** Handle a key; returns whether it was one of the film's. */
  function key(event) {
    const step = Number(range.value);
    if (event.key === " ") toggle();
    else if (event.target === range) return false;
    else if (event.key === "ArrowRight") { pause(); show(Math.min(last, step + 1)); }
    else if (event.key === "ArrowLeft") { pause(); show(Math.max(0, step - 1)); }
    else if (event.key === "Home") { pause(); show(0); }
    else if (event.key === "End") { pause(); show(last); }
    else return false;
    event.preventDefault();
    return true;
  }
  return { element, key, toggle, close: pause };
}
