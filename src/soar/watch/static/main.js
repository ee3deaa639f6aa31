// The frame of the page: panels by address, live values, commands to all stations, keys.

import { button, count, el, setText } from "./dom.js";

const $ = id => document.getElementById(id);
const values = {}; // latest value of each event, by name of what it is of
const listeners = new Set();
let panels = [], close = null, clockOffset = 0, maySteer = false;

/** What a panel gets. */
const page = {
  get: path => answer(fetch(path)),
  post: (path, body) => answer(fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: body === undefined ? "" : JSON.stringify(body) })),
  /** Latest values of an event by name, such as page.values("station").arm1. */
  values: event => values[event] || {},
  /** Call a function with each new value of an event, or when a "dialog" opens; returns a function that ends this. */
  on(event, call) {
    const listener = [event, call];
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  /** Seconds since a Unix time of the server. */
  age: unixSeconds => Math.max(0, Date.now() / 1000 + clockOffset - unixSeconds),
  get maySteer() { return maySteer; },
  toast, ask, go: hash => { location.hash = hash; },
  command,
};

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error("soar watch doesn't answer; is it still running?");
  }
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(found.error || `status ${response.status}`);
  return found;
}

/** Do something, and show why where it fails. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    toast(error.message, "bad");
    return null;
  }
}

function toast(words, kind = "") {
  const shown = el("p", { className: kind }, words);
  $("toasts").append(shown);
  setTimeout(() => shown.remove(), kind === "bad" ? 8000 : 3500);
}

/** Show a dialog with this content, and the emergency stop, which it covers; resolves when it is closed. */
function ask(content) {
  const dialog = $("dialog");
  dialog.replaceChildren(content, el("div", { className: "row" }, emergencyButton()));
  tell("dialog");
  dialog.showModal();
  return new Promise(done => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}

const SAID = { pause: "pauses after its episode", resume: "resumes", release: "is released; Resume lets it move", stop: "stops after its episode", drain: "stops after its episode", emergency: "is held" };

async function command(word, station) {
  await attempt(async () => {
    const path = station ? `/api/stations/${encodeURIComponent(station)}/${word}` : `/api/fleet/${word}`;
    const { stations } = await page.post(path);
    toast(stations.length === 1 ? `${stations[0]} ${SAID[word]}` : `${stations.length} stations: ${word}`);
  });
}

function fleetButton(words, word, image, more) {
  return button(words, { image, onclick: () => command(word), disabled: !maySteer, ...more });
}

const emergencyButton = () => fleetButton("Emergency stop", "emergency", "hand", { className: "emergency", title: "Hold all arms at once (!)" });

function fleetControls() {
  $("fleet").replaceChildren(
    fleetButton("Pause", "pause", "pause", { title: "Pause all stations after their episodes" }),
    fleetButton("Resume", "resume", "play", { title: "Resume all paused or released stations" }),
    fleetButton("Drain", "drain", "drain", { title: "Stop all stations, each after its episode" }),
    emergencyButton(),
    fleetButton("Release", "release", "hand", { id: "release", title: "Release all arms from the emergency stop; nothing moves before Resume" }),
  );
  showHeld();
}

function showHeld() {
  const held = Object.values(page.values("station")).some(s => s.command === "emergency");
  $("release").disabled = !maySteer || !held;
}

async function open() {
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const panel = panels.find(p => p.name === name) || panels[0];
  for (const link of $("panels").children) {
    if (link.dataset.name === panel.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (close) close();
  close = null;
  const root = el("div", { className: `panel-${panel.name}` });
  $("main").replaceChildren(root);
  const script = await import(`/static/${panel.name}.js`);
  if (root.isConnected) close = script.open(root, page, rest.join("/")) || null;
  scrollTo(0, 0);
}

function listen() {
  const source = new EventSource("/events");
  source.addEventListener("hello", event => {
    clockOffset = JSON.parse(event.data).now_s - Date.now() / 1000;
    ended = false;
    state("on", "live");
    notice(maySteer ? "" : "Read-only: to steer and to label, open the address that soar watch printed, with its token.");
  });
  let ended = false;
  source.addEventListener("end", () => { ended = true; });
  source.onerror = () => {
    state("off", "connection lost");
    notice(ended ? "The page's server has ended: this is what it showed last. Start soar watch to go on." : "Connection lost: what you see is old. Trying again.");
  };
  source.onmessage = message => {
    const { event, value } = JSON.parse(message.data);
    (values[event] ||= {})[value.name || ""] = value;
    tell(event, value);
    if (event === "station" || event === "store") summarize();
    if (event === "station") showHeld();
  };
}

function tell(event, value) {
  for (const [wanted, call] of listeners) if (wanted === event) call(value);
}

function state(kind, words) {
  $("live").className = `dot ${kind}`;
  $("live").title = words;
}

function notice(words) {
  $("notice").hidden = !words;
  setText($("notice"), words);
}

function summarize() {
  const stations = Object.values(page.values("station"));
  const busy = stations.filter(s => s.activity === "collecting").length;
  const needy = stations.filter(s => s.person).length;
  const store = page.values("store")[""];
  const parts = [];
  if (stations.length) parts.push(`${busy} of ${stations.length} collecting`);
  if (store) parts.push(count(store.episodes, "episode"));
  $("summary").replaceChildren(parts.join(" · "), ...(needy ? [" · ", el("b", {}, `${needy} need${needy === 1 ? "s" : ""} a person`)] : []));
  document.title = `${needy ? `(${needy}) ` : ""}${$("name").textContent} · soar`;
}

const KEYS = [
  ["1 … 5", "panels"], ["arrows", "from tile to tile; in a film, from frame to frame"], ["p", "pause or resume the station"], ["x", "stop the station"], ["r", "release its held arm"],
  ["t", "its tasks"], ["!", "emergency stop of all arms"], ["space", "play or pause the film"], ["s f u", "label success, failure, unsure"], ["b", "back to the last label"], ["?", "this help"],
];

function help() {
  const close = button("Close", { key: "Escape", onclick: () => $("dialog").close() });
  ask(el("div", {}, el("h2", {}, "Keys"), el("dl", {}, ...KEYS.flatMap(([key, words]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, words)])), el("div", { className: "row" }, close)));
}

/** Whether a key is for a field that is being edited. */
export function isInField(event) {
  return /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "range";
}

/** Whether a key is for a field that is being edited, the browser, or a dialog. */
export function isTyping(event) {
  return event.ctrlKey || event.metaKey || event.altKey || $("dialog").open || isInField(event);
}

document.addEventListener("keydown", event => {
  if (event.key === "!" && maySteer && !isInField(event)) command("emergency");
  if (isTyping(event)) return;
  const number = Number(event.key);
  const shown = panels.filter(p => p.title);
  if (event.key === "?") help();
  else if (number >= 1 && number <= shown.length) page.go(`/${shown[number - 1].name}`);
});
$("dialog").addEventListener("click", event => { if (event.target === $("dialog")) $("dialog").close(); });

async function start() {
  const found = await attempt(() => page.get("/api/page"));
  if (!found) {
    $("main").replaceChildren(el("p", { className: "empty" }, "Open the address that soar watch printed, with its token."));
    return;
  }
  panels = found.panels;
  maySteer = found.may_steer;
  setText($("name"), found.name);
  $("panels").replaceChildren(
    ...panels.filter(p => p.title).map(p => el("a", { href: `#/${p.name}`, dataset: { name: p.name } }, p.title)),
    el("button", { className: "quiet", type: "button", title: "Keys (?)", "aria-label": "Keys", onclick: help }, "?"),
  );
  fleetControls();
  addEventListener("hashchange", open);
  listen();
  await open();
}

start();
