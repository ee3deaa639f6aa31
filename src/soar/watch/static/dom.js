// Elements without HTML strings, so that no text of others is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  pause: "M8 5v14M16 5v14",
  play: "M7 4.5v15l12-7.5z",
  stop: "M6 6h12v12H6z",
  hand: "M12 3v18M3 12h18M5.6 5.6l12.8 12.8M18.4 5.6 5.6 18.4",
  drain: "M12 3v12m0 0-5-5m5 5 5-5M4 20h16",
  person: "M12 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21c1-5 4-7 8-7s7 2 8 7",
  check: "M4 12.5l5.5 5.5L20 6.5",
  cross: "M6 6l12 12M18 6 6 18",
  dash: "M6 12h12",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
};

/** Make an element: properties by name, listeners as functions, children as text or elements. */
export function el(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

/** Make an element of SVG. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** A button with an icon and words; `key` is shown in its hint. */
export function button(words, { image, key, ...properties }) {
  const title = key ? `${words} (${key})` : words;
  return el("button", { type: "button", title, ...properties }, ...(image ? [icon(image)] : []), el("span", {}, words));
}

/** The icon of an outcome: a shape beside its color. */
export function outcomeIcon(outcome) {
  return icon({ success: "check", failure: "cross" }[outcome] || "dash");
}

/** Set a text only if it changed, so that nothing flickers. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A number with its noun: "1 episode", "2 episodes". */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Give an element the shape of its picture; few pixels stay sharp. */
export function keepShape(element, image) {
  const ratio = String(image.naturalWidth / image.naturalHeight);
  if (element.style.getPropertyValue("--ratio") === ratio) return;
  element.style.setProperty("--ratio", ratio);
  element.classList.toggle("small", image.naturalWidth < 128);
}

export function percent(share) {
  return share == null ? "" : `${Math.round(100 * share)}\u00a0%`;
}

export function duration(seconds) {
  if (seconds == null) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function clock(unixSeconds) {
  const time = new Date(1000 * unixSeconds);
  const isToday = time.toDateString() === new Date().toDateString();
  return time.toLocaleString([], { ...(isToday ? {} : { day: "numeric", month: "short" }), hour: "2-digit", minute: "2-digit" });
}

/** A row of large numbers: [value, words]. */
export function numbers(rows) {
  return el("div", { className: "numbers" }, ...rows.map(([value, words]) => el("div", {}, el("b", {}, value), el("span", {}, words))));
}

/** A bar that shows a share. */
export function bar(share) {
  const inner = el("i");
  inner.style.width = `${100 * (share || 0)}%`;
  return el("div", { className: "bar" }, inner);
}

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") element.setAttribute(key, value);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else element[key] = value;
  }
  element.append(...children.filter(child => child != null));
  return element;
}
