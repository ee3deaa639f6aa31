// Labels: the most doubtful verdicts first, each decided by a key; the verdict is shown afterwards.

import { bar, button, el } from "./dom.js";
import { makeFilm } from "./film.js";
import { attempt, isTyping } from "./main.js";

const WORDS = [["success", "check", "s"], ["failure", "cross", "f"], ["unsure", "dash", "u"]];

/** Three buttons of a label; `label` is the present one. */
export function choices(page, label, choose) {
  return el("div", { className: "choices", role: "group", "aria-label": "Label" }, ...WORDS.map(([word, image, key]) =>
    button(word[0].toUpperCase() + word.slice(1), { image, key, className: word, disabled: !page.maySteer, "aria-pressed": String(label === word), onclick: () => choose(word) })));
}

/** Store a label; returns whether it was stored. */
export async function setLabel(page, id, label) {
  return Boolean(await attempt(() => page.post(`/api/episodes/${encodeURIComponent(id)}/label`, { label })));
}

export function open(root, page) {
  const box = el("div", { className: "labeling" });
  root.append(box);
  let queue = [], current = null, film = null, left = 0, labeled = 0, busy = false;
  const past = [];

  async function next() {
    film?.close();
    film = current = null;
    if (!queue.length && !(await refill())) return;
    current = queue.shift();
    await draw();
  }

  async function refill() {
    const found = await attempt(() => page.get("/api/doubtful"));
    if (!found) return false;
    ({ left, labeled } = found);
    queue = found.episodes;
    if (queue.length) return true;
    const words = labeled ? `All ${labeled} episodes are labeled.` : "There is no episode yet.";
    box.replaceChildren(el("p", { className: "empty" }, words));
    return false;
  }

  async function draw() {
    const detail = await attempt(() => page.get(`/api/episodes/${current.id}`));
    if (!detail || detail.id !== current?.id) return;
    film = makeFilm({ ...detail, has_critic: false }, page);
    box.replaceChildren(
      el("div", { className: "queue" }, el("span", {}, `${labeled} labeled, ${left} left`), bar(labeled / Math.max(1, labeled + left)), ...(past.length ? [button("Back", { key: "b", className: "quiet", onclick: back })] : [])),
      el("div", {}, el("h1", {}, detail.task), el("p", { className: "soft" }, "Is the task done in the last frame, and was it not before? The detector's verdict is shown after your label.")),
      film.element, choices(page, detail.label, choose), el("p", { className: "soft" }, el("kbd", {}, "s"), " success  ", el("kbd", {}, "f"), " failure  ", el("kbd", {}, "u"), " unsure  ", el("kbd", {}, "space"), " film  ", el("kbd", {}, "b"), " back"));
    film.toggle();
  }

  async function choose(word) {
    if (!current || busy) return;
    busy = true;
    const { id, outcome, p } = current;
    if (await setLabel(page, id, word)) {
      const verdict = p == null ? "had no verdict" : `said ${outcome}, P ${p.toFixed(2)}`;
      page.toast(`${word}; the detector ${verdict}`);
      past.push(current);
      left -= 1;
      labeled += 1;
      await next();
    }
    busy = false;
  }

  async function back() {
    const before = past.pop();
    if (!before || busy) return;
    busy = true;
    if (current) queue.unshift(current);
    film?.close();
    current = before;
    if (await setLabel(page, before.id, "")) { left += 1; labeled -= 1; }
    await draw();
    busy = false;
  }

  const onKey = event => {
    if (isTyping(event) || film?.key(event) || !page.maySteer) return;
    const choice = WORDS.find(([, , key]) => key === event.key);
    if (choice) choose(choice[0]);
    else if (event.key === "b") back();
  };
  document.addEventListener("keydown", onKey);
  const wait = async () => {
    if (current || busy) return;
    busy = true;
    await next();
    busy = false;
  };
  wait();
  const end = page.on("store", wait); // the first episode may come while the panel is open
  return () => { end(); document.removeEventListener("keydown", onKey); film?.close(); };
}
