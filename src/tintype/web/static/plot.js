/** A plot of days: one bar a day, a colour a model. */
import { h } from "./dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, FOOT] = [620, 150, 22];

/** Bars of requests per day, stacked by model, with a legend; each bar tells its day in words. */
export function plotDays(days, models) {
  const totals = days.map((_, place) => models.reduce((sum, { counts }) => sum + counts[place], 0));
  const most = Math.max(1, ...totals);
  const wide = WIDTH / days.length;
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + FOOT}`, role: "img", "aria-label": `Requests per day; at most ${most} on a day` });
  days.forEach((day, place) => {
    let y = HEIGHT;
    models.forEach(({ counts, title, sums }, number) => {
      const height = (counts[place] / most) * (HEIGHT - 8);
      if (!height) return;
      y -= height;
      const bar = draw("rect", { x: place * wide + 1.5, y, width: wide - 3, height, class: `bar-${number}` });
      bar.append(draw("title", {}, `${day}: ${counts[place]} × ${title}, $${sums[place].toFixed(4)}`));
      svg.append(bar);
    });
    if (place % 7 === 2) svg.append(draw("text", { x: (place + 1) * wide, y: HEIGHT + 16, "text-anchor": "end" }, day.slice(5)));
  });
  svg.append(draw("line", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }));
  const legend = h("ul.legend", {}, models.map(({ title }, number) => h("li", {}, h(`span.swatch.bar-${number}`), title)));
  return h("figure", {}, svg, h("figcaption", {}, legend));
}

/** An element of SVG, with text that is never taken for more. */
export function draw(tag, attributes, text = "") {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(text);
  return element;
}
