/** A plot over time: lines with gaps where nothing is known, or bars one on another; the pointer reads it. */
import { draw, fill, h } from "./dom.js";
import { scaled, ticks } from "./scale.js";
import { timeOf } from "./words.js";

const [WIDTH, HEIGHT, LEFT, TOP, FOOT] = [360, 130, 54, 8, 20];

/**
 * A figure of some series over the same stretches of time.
 * @param {string} title what is plotted
 * @param {{name: string, hue: number, values: (number|null)[]}[]} series one value per time; null is not known
 * @param {{times: number[], seconds: number, from: number, to: number}} span the stretches' beginnings and length, and
 *   the time that the plot shows, in milliseconds since 1970 but for `seconds`
 * @param {{bars?: boolean, least: number, show: (value: number) => string, round?: (value: number) => number,
 *   empty: string}} kind how it is drawn: `least` is what the axis reaches at any rate, `show` writes a value, `round`
 *   gives the unit of which the axis has a round number, `empty` stands where there is no value
 */
export function timeline(title, series, span, kind) {
  const known = series.flatMap(({ values }) => values).filter((value) => value !== null);
  const sums = span.times.map((_, place) => series.reduce((sum, { values }) => sum + (values[place] ?? 0), 0));
  const highest = Math.max(kind.least, ...(kind.bars ? sums : known));
  const unit = kind.round?.(highest) ?? 1;
  const scale = scaled(0, highest / unit, 0);
  const x = (time) => LEFT + ((time - span.from) / (span.to - span.from)) * (WIDTH - LEFT);
  const y = (value) => TOP + (1 - value / (scale.high * unit)) * (HEIGHT - TOP);
  const svg = draw("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT + FOOT}`,
    role: "img",
    "aria-label": spoken(title, series, kind),
  });
  for (const value of ticks(scale).map((tick) => tick * unit)) {
    svg.append(draw("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value), class: "grid" }));
    svg.append(draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, kind.show(value)));
  }
  const middle = (span.from + span.to) / 2;
  for (const [time, anchor] of [
    [span.from, "start"],
    [middle, "middle"],
    [span.to, "end"],
  ]) {
    svg.append(draw("text", { x: x(time), y: HEIGHT + 15, "text-anchor": anchor }, timeOf(time)));
  }
  if (known.length) svg.append(...(kind.bars ? bars(series, span, x, y) : lines(series, span, x, y)));
  else
    svg.append(
      draw(
        "text",
        { x: (WIDTH + LEFT) / 2, y: (HEIGHT + TOP) / 2 + 4, "text-anchor": "middle", class: "empty-plot" },
        kind.empty,
      ),
    );
  return h("figure.timeline", {}, caption(title, series, span, kind, svg, x), svg);
}

/** Paths that begin anew after each gap, so that nothing is drawn where nothing is known; one value alone is a point. */
function lines(series, { times, seconds }, x, y) {
  const joined = (one, next) => next && next[0] - one[0] < 1500 * seconds;
  const at = ([time, value]) => [x(time).toFixed(1), y(value).toFixed(1)];
  return series.flatMap(({ values, hue }) => {
    const known = times.map((time, place) => [time, values[place]]).filter(([, value]) => value !== null);
    const path = known.map((one, place) => `${place && joined(known[place - 1], one) ? "L" : "M"}${at(one).join(" ")}`);
    const alone = known.filter(
      (one, place) => !joined(one, known[place + 1]) && !(place && joined(known[place - 1], one)),
    );
    return [
      draw("path", { d: path.join(""), class: `line series-${hue}` }),
      ...alone.map((one) => draw("circle", { cx: at(one)[0], cy: at(one)[1], r: 2.5, class: `series-${hue}` })),
    ];
  });
}

function bars(series, { times, seconds, from, to }, x, y) {
  const wide = Math.max(1, x(from + 1000 * seconds) - x(from) - 0.6);
  return times.flatMap((time, place) => {
    let below = 0;
    return series
      .filter(({ values }) => values[place])
      .map((one) => {
        const [bottom, top] = [y(below), y((below += one.values[place]))];
        const left = Math.min(x(time), x(to) - wide);
        return draw("rect", { x: left, y: top, width: wide, height: bottom - top, class: `series-${one.hue}` });
      });
  });
}

/** The title, and each series with its latest value, or all of its counts, or what is under the pointer. */
function caption(title, series, { times }, kind, svg, x) {
  const values = h("ul.legend");
  const tell = (place) =>
    fill(
      values,
      series.map((one) => {
        const value = place === null ? overall(one.values, kind) : one.values[place];
        return h(
          "li",
          {},
          h(`span.swatch.series-${one.hue}`),
          `${one.name} `,
          h("strong", {}, value === null ? "–" : kind.show(value)),
        );
      }),
      place === null ? null : h("li", {}, timeOf(times[place])),
    );
  tell(null);
  svg.addEventListener("pointermove", ({ clientX }) => {
    const box = svg.getBoundingClientRect();
    const wanted = ((clientX - box.left) / box.width) * WIDTH;
    const distances = times.map((time) => Math.abs(x(time) - wanted));
    if (times.length) tell(distances.indexOf(Math.min(...distances)));
  });
  svg.addEventListener("pointerleave", () => tell(null));
  return h("figcaption", {}, h("h3", {}, title), values);
}

/** The sum of counts, or the latest value; null of none. */
function overall(values, { bars }) {
  const known = values.filter((value) => value !== null);
  return (bars ? known.reduce((sum, value) => sum + value, 0) : known.at(-1)) ?? null;
}

function spoken(title, series, kind) {
  const words = series.map(({ name, values }) => {
    const known = values.filter((value) => value !== null);
    if (!known.length) return `${name}: ${kind.empty}`;
    const now = `${kind.show(overall(values, kind))} ${kind.bars ? "in all" : "at last"}`;
    return `${name}: ${now}, ${kind.show(Math.max(...known))} at most`;
  });
  return `${title}. ${words.join("; ")}`;
}
