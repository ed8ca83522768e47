/** Plots over days, drawn at the width that there is, so that their words stay readable on a telephone. */
import { draw, fill, h } from "./dom.js";
import { scaled, ticks } from "./scale.js";
import { dollars } from "./words.js";

const [HEIGHT, HEAD, FOOT] = [150, 16, 22];

/** Bars of whole numbers, stacked by series of { title, values, words(place) }, with a legend; each bar tells its day. */
export function plotBars(days, series) {
  const most = Math.max(1, ...days.map((_, place) => series.reduce((sum, { values }) => sum + values[place], 0)));
  const scale = scaled(0, most, 1);
  const legend = h(
    "ul.legend",
    {},
    series.map(({ title }, number) => h("li", {}, h(`span.swatch.bar-${number % 6}`), title)),
  );
  const bars = (wide, y) =>
    days.flatMap((day, place) => {
      let below = 0;
      return series.map(({ values, words }, number) => {
        if (!values[place]) return "";
        const [low, high] = [y(below), y((below += values[place]))];
        const size = { x: place * wide + wide * 0.12, width: wide * 0.76, y: high, height: low - high };
        return draw("rect", { ...size, class: `bar-${number % 6}` }, draw("title", {}, `${day}: ${words(place)}`));
      });
    });
  return figure(
    days,
    scale,
    (tick) => tick.toLocaleString("en"),
    `Requests per day; at most ${most} on a day`,
    bars,
    legend,
  );
}

/** A line of dollars with one value a day; `words(place)` tells of a day. */
export function plotLine(days, values, words) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  // A small change of a large balance would be a flat line on a scale from 0.
  const scale = scaled(
    least > most / 2 && least > 0 ? least : Math.min(0, least),
    most,
    least === 0 && most === 0 ? 1 : 0.000001,
  );
  const digits = Math.max(2, Math.min(6, Math.ceil(-Math.log10(scale.step))));
  const line = (wide, y) => {
    const points = values.map((value, place) => `${(place + 0.5) * wide},${y(value)}`);
    const floor = y(scale.low);
    return [
      draw("polygon", {
        class: "area",
        points: [`${wide / 2},${floor}`, ...points, `${(days.length - 0.5) * wide},${floor}`].join(" "),
      }),
      draw("polyline", { class: "line", points: points.join(" ") }),
      ...days.map((day, place) =>
        draw(
          "rect",
          { class: "day", x: place * wide, y: 0, width: wide, height: HEAD + HEIGHT },
          draw("title", {}, `${day}: ${words(place)}`),
        ),
      ),
    ];
  };
  return figure(
    days,
    scale,
    (tick) => dollars(tick, digits),
    `Balance by day, from ${dollars(values[0])} to ${dollars(values.at(-1))}`,
    line,
    null,
  );
}

function figure(days, scale, tell, name, marks, legend) {
  const place = h("div.plot-frame");
  const y = (value) => HEAD + HEIGHT * (1 - (value - scale.low) / (scale.high - scale.low));
  let drawn = 0;
  const redraw = (width) => {
    if (!width || width === drawn) return;
    drawn = width;
    const left = 8 + 6.2 * Math.max(...ticks(scale).map((tick) => tell(tick).length));
    const wide = (width - left) / days.length;
    const every = Math.ceil(days.length / Math.max(2, Math.floor(width / 100)));
    const dates = days.map((day, number) =>
      (days.length - 1 - number) % every === 0
        ? draw(
            "text",
            { x: Math.min(width - left, (number + 0.5) * wide + 16), y: HEAD + HEIGHT + 16, "text-anchor": "end" },
            day.slice(5),
          )
        : "",
    );
    const lines = ticks(scale).flatMap((tick) => [
      draw("line", { x1: left, x2: width, y1: y(tick), y2: y(tick) }),
      draw("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, tell(tick)),
    ]);
    const inner = draw("g", { transform: `translate(${left} 0)` }, ...marks(wide, y), ...dates);
    fill(
      place,
      draw(
        "svg",
        { viewBox: `0 0 ${width} ${HEAD + HEIGHT + FOOT}`, role: "img", "aria-label": name },
        ...lines,
        inner,
      ),
    );
  };
  new ResizeObserver(([{ contentRect }]) => redraw(Math.round(contentRect.width))).observe(place);
  return h("figure.plot", {}, place, legend ? h("figcaption", {}, legend) : null);
}
