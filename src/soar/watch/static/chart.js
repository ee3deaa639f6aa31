// Small charts of SVG: a curve with its interval, and rates with theirs.

import { el, percent, svg } from "./dom.js";

const WIDTH = innerWidth < 700 ? 380 : 640, HEIGHT = 230, LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 30;

/** A success rate with its 95 % interval over episodes; `marks` are [{episode, round}]. */
export function curve(points, marks, words) {
  const last = Math.max(2, points[points.length - 1].episode);
  const x = episode => LEFT + ((WIDTH - LEFT - RIGHT) * (episode - 1)) / (last - 1);
  const chart = frame(words);
  for (const mark of marks) {
    chart.append(svg("line", { class: "mark", x1: x(mark.episode), x2: x(mark.episode), y1: TOP, y2: HEIGHT - BOTTOM }), text(x(mark.episode) + 4, TOP + 10, `round ${mark.round}`));
  }
  const up = points.map(p => `${x(p.episode)},${y(p.high)}`), down = points.map(p => `${x(p.episode)},${y(p.low)}`).reverse();
  chart.append(svg("polygon", { class: "band", points: [...up, ...down].join(" ") }), svg("polyline", { class: "line", points: points.map(p => `${x(p.episode)},${y(p.value)}`).join(" ") }));
  for (const share of [0, 0.5, 1]) chart.append(text(x(1 + share * (last - 1)), HEIGHT - 8, `${Math.round(1 + share * (last - 1))}`, share === 0 ? "start" : share === 1 ? "end" : "middle"));
  return chart;
}

/** Success rates with intervals side by side: [{name, value, low, high, words}]. */
export function whiskers(rows, words) {
  const chart = frame(words);
  const step = (WIDTH - LEFT - RIGHT) / rows.length;
  rows.forEach((row, i) => {
    const x = LEFT + step * (i + 0.5);
    chart.append(svg("line", { class: "line", x1: x, x2: x, y1: y(row.low), y2: y(row.high) }), svg("circle", { cx: x, cy: y(row.value), r: 5, fill: "var(--accent)" }, svg("title", {}, row.words)),
      text(x + 10, y(row.value) + 4, percent(row.value)), text(x, HEIGHT - 8, row.name, "middle"));
  });
  return chart;
}

/** A rate with its interval as a dot on a bar, for a table. */
export function range(row, words) {
  const span = el("i"), dot = el("b");
  span.style.left = `${100 * row.low}%`;
  span.style.width = `${100 * (row.high - row.low)}%`;
  dot.style.left = `${100 * row.value}%`;
  return el("div", { className: "range", title: words, role: "img", "aria-label": words }, span, dot);
}

function y(value) {
  return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value);
}

function frame(words) {
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": words });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    chart.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(share), y2: y(share) }), text(LEFT - 8, y(share) + 4, percent(share), "end"));
  }
  return chart;
}

function text(x, at, words, anchor = "start") {
  return svg("text", { x, y: at, "text-anchor": anchor }, words);
}
