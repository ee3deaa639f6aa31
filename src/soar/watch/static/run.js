// The run: its stages from the first image to the report, films of trials, decisions.

import { bar, button, clock, duration, el } from "./dom.js";
import { attempt } from "./main.js";

export function open(root, page) {
  let films = "";
  const head = el("div"), stages = el("section", { className: "card" }), side = el("div", { className: "side" });
  const strip = el("section", { className: "card", hidden: true });
  side.append(strip);
  root.append(head, el("div", { className: "detail" }, stages, side));
  const report = el("section", { className: "card" });
  side.append(report);

  function draw(run) {
    head.replaceChildren(el("h1", {}, run.title || run.folder), el("p", { className: "soft" }, run.started_s ? `begun ${clock(run.started_s)}, ${duration(page.age(run.started_s))} ago` : ""));
    stages.hidden = !run.stages;
    if (run.stages) stages.replaceChildren(el("h2", {}, "Stages"), el("ol", { className: "stages" }, ...run.stages.map(stage)), ...(run.problem ? [el("p", { className: "bad" }, run.problem)] : []));
    drawFilms(run.films || []);
    drawReport(run);
  }

  function drawFilms(list) {
    const key = list.map(f => f.url).join();
    strip.hidden = !list.length;
    if (key === films) return;
    films = key;
    strip.replaceChildren(el("h2", {}, "Newest trials"), el("div", { className: "films" }, ...list.map(f => el("figure", {},
      el("video", { src: f.url, muted: true, loop: true, autoplay: true, playsInline: true, controls: matchMedia("(prefers-reduced-motion: reduce)").matches }), el("figcaption", {}, f.task, el("br"), el("span", { className: f.outcome }, f.outcome), el("span", { className: "soft" }, ` · ${f.when}`))))));
  }

  function drawReport(run) {
    const write = button("Write the report now", { disabled: !page.maySteer, onclick: async () => {
      write.disabled = true;
      const done = await attempt(() => page.post("/api/report"));
      write.disabled = false;
      if (done) page.toast(`written in ${done.seconds} s`);
    } });
    const words = run.report_s ? el("p", {}, el("a", { href: "/report", target: "_blank" }, "Open the report"), el("span", { className: "soft" }, `, with all figures; written ${clock(run.report_s)}`)) : el("p", { className: "soft" }, "One page with all figures. None has been written yet.");
    report.replaceChildren(el("h2", {}, "Report"), words, write, ...(run.decisions || []).map(d => el("p", {}, d)), ...(run.command ? [el("pre", {}, run.command)] : []));
  }

  const last = page.values("run")[""];
  if (last) draw(last);
  return page.on("run", draw);
}

function stage(found) {
  const round = found.round ? `Round ${found.round}: ` : "";
  const name = `${round}${round ? found.name : found.name[0].toUpperCase() + found.name.slice(1)}`;
  const busy = found.state === "now";
  return el("li", { className: found.state, "aria-current": busy ? "step" : "false" },
    el("div", { className: "name" }, name, el("small", { className: "soft" }, found.seconds == null ? (busy ? "now" : "") : duration(found.seconds))),
    ...(busy && found.share != null ? [bar(found.share)] : []), ...(found.words && found.state !== "next" ? [el("small", {}, found.words)] : []));
}
