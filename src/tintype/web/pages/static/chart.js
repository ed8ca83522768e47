/** Charts: bars over days, at the width that there is; lines and bars over minutes and hours. */
import { timeOf } from "./dates.js";
import { draw, fill, h } from "./dom.js";

/**
 * An axis: its range, and the step between its figures.
 * @typedef {{step: number, low: number, high: number}} Scale
 */

/**
 * A range around `low` and `high` with a round step, of which there are about three in it.
 * @param {number} low
 * @param {number} high
 * @param {number} least the smallest step
 * @returns {Scale}
 */
function scaled(low, high, least) {
  const rough = Math.max(least, (high - low) / 3, Math.abs(high) * 1e-6);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5].find((factor) => factor * power >= rough * 0.999) ?? 10;
  const step = Math.max(least, factor * power);
  const floor = Math.floor(low / step + 1e-9) * step;
  return { step, low: floor, high: Math.max(Math.ceil(high / step - 1e-9) * step, floor + step) };
}

/**
 * Where the axis has its figures.
 * @param {Scale} scale
 */
const ticks = ({ step, low, high }) =>
  [...Array(Math.round((high - low) / step) + 1).keys()].map((number) => low + number * step);

/**
 * The lines of an axis, from `left` to `right`, each with its figure before it.
 * @param {number[]} values
 * @param {{left: number, right: number, gap: number}} place
 * @param {(value: number) => number} y
 * @param {(value: number) => string} show
 */
const grid = (values, { left, right, gap }, y, show) =>
  values.flatMap((value) => [
    draw("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" }),
    draw("text", { x: left - gap, y: y(value) + 4, "text-anchor": "end" }, show(value)),
  ]);

/**
 * The bars of one place, on top of each other: for each series with a value there, what `bar` makes of it.
 * @template {{values: (number | null)[]}} Series
 * @param {Series[]} series
 * @param {number} place
 * @param {(value: number) => number} y
 * @param {(one: Series, number: number, box: {y: number, height: number}) => SVGElement} bar
 */
function stacked(series, place, y, bar) {
  let below = 0;
  return series.flatMap((one, number) => {
    const value = one.values[place];
    if (!value) return [];
    const bottom = y(below);
    below += value;
    return bar(one, number, { y: y(below), height: bottom - y(below) });
  });
}

// Over days

const [HEIGHT, HEAD, FOOT] = [150, 16, 22];
/** Pixels of the widest bar. */
const MAX_BAR = 44;

/**
 * What draws a chart's marks: `wide` is the width of a day.
 * @typedef {(wide: number, y: (value: number) => number) => SVGElement[]} Marks
 */

/**
 * Bars, stacked by series, with a legend of several; each day tells what it has.
 * @param {string[]} days
 * @param {{title: string, values: number[], words: (place: number) => string}[]} series
 * @param {{least: number, show: (tick: number, step: number) => string, name: string}} axis `least` is the smallest
 * step
 */
export function plotBars(days, series, { least, show, name }) {
  const sums = days.map((_, place) => series.reduce((sum, { values }) => sum + values[place], 0));
  const hue = (/** @type {number} */ number) => `bar-${number % 6}`;
  const names = series.map(({ title }, number) => h("li", {}, h(`span.swatch.${hue(number)}`), title));
  /** @type {Marks} */
  const bars = (wide, y) =>
    days.flatMap((day, place) => {
      const width = Math.min(0.76 * wide, MAX_BAR);
      const x = (place + 0.5) * wide - width / 2;
      const words = series.filter(({ values }) => values[place]).map((one) => one.words(place));
      return [
        ...stacked(series, place, y, (_, number, box) => draw("rect", { x, width, ...box, class: hue(number) })),
        draw(
          "rect",
          { class: "day", x: place * wide, y: 0, width: wide, height: HEAD + HEIGHT },
          draw("title", {}, `${dayWords(day)}: ${words.join("; ") || "nothing"}`),
        ),
      ];
    });
  const legend = series.length > 1 ? h("ul.legend", {}, names) : null;
  const scale = scaled(0, Math.max(least, ...sums), least);
  return overDays(days, scale, (tick) => show(tick, scale.step), name, bars, legend);
}

/**
 * `2026-11-30` → "30 Nov", as people of this place write it.
 * @param {string} day
 */
const dayWords = (day) => new Date(day).toLocaleDateString([], { day: "numeric", month: "short", timeZone: "UTC" });

/**
 * A chart that is drawn again when its width changes, so that its words stay readable on a telephone.
 * @param {string[]} days
 * @param {Scale} scale
 * @param {(tick: number) => string} show
 * @param {string} name
 * @param {Marks} marks
 * @param {HTMLElement | null} legend
 */
function overDays(days, scale, show, name, marks, legend) {
  const place = h("div.plot-frame");
  const y = (/** @type {number} */ value) => HEAD + HEIGHT * (1 - (value - scale.low) / (scale.high - scale.low));
  const values = ticks(scale);
  const left = 8 + 6.2 * Math.max(...values.map((tick) => show(tick).length));
  let drawn = 0;
  const redraw = (/** @type {number} */ width) => {
    if (!width || width === drawn) return;
    drawn = width;
    const wide = (width - left) / days.length;
    const inner = draw(
      "g",
      { transform: `translate(${left} 0)` },
      ...marks(wide, y),
      ...dates(days, wide, Math.floor(width / 100)),
    );
    const box = { viewBox: `0 0 ${width} ${HEAD + HEIGHT + FOOT}`, role: "img", "aria-label": name };
    fill(place, draw("svg", box, ...grid(values, { left, right: width, gap: 8 }, y, show), inner));
  };
  new ResizeObserver(([{ contentRect }]) => redraw(Math.round(contentRect.width))).observe(place);
  return h("figure.plot", {}, place, legend ? h("figcaption", {}, legend) : null);
}

/**
 * As many dates as there is room for, the last one always.
 * @param {string[]} days
 * @param {number} wide
 * @param {number} room how many
 */
function dates(days, wide, room) {
  const every = Math.ceil(days.length / Math.max(2, room));
  return days.flatMap((day, number) => {
    if ((days.length - 1 - number) % every) return [];
    const x = Math.min(days.length * wide, (number + 0.5) * wide + 16);
    return draw("text", { x, y: HEAD + HEIGHT + 16, "text-anchor": "end" }, dayWords(day));
  });
}

// Over minutes and hours

const VIEW = { width: 360, height: 130, left: 54, top: 8, foot: 20 };

/**
 * Values over time, one per time; null is not known.
 * @typedef {{name: string, hue: number, values: (number | null)[]}} Series
 * The times and the seconds between them, and the time that the chart shows; milliseconds since 1970.
 * @typedef {{times: number[], seconds: number, from: number, to: number}} Span
 * How it is drawn: `least` is what the axis reaches in any case, `show` writes a value, `round` gives the unit of which
 * the axis has a round number, `empty` stands where there is no value.
 * @typedef {object} Kind
 * @property {boolean} [bars]
 * @property {number} least
 * @property {(value: number) => string} show
 * @property {(value: number) => number} [round]
 * @property {string} empty
 * Where a time, or a value, is in the chart.
 * @typedef {(value: number) => number} Position
 */

/**
 * Lines with gaps where nothing is known, or bars on top of each other; the pointer reads them.
 * @param {string} title
 * @param {Series[]} series
 * @param {Span} span
 * @param {Kind} kind
 */
export function timeline(title, series, span, kind) {
  const { width, height, left, top, foot } = VIEW;
  const any = series.some(({ values }) => known(values).length);
  const highest = Math.max(
    kind.least,
    ...(kind.bars ? sums(series, span) : series.flatMap(({ values }) => known(values))),
  );
  const unit = kind.round?.(highest) ?? 1;
  const scale = scaled(0, highest / unit, 0);
  /** @type {Position} */
  const x = (time) => left + ((time - span.from) / (span.to - span.from)) * (width - left);
  /** @type {Position} */
  const y = (value) => top + (1 - value / (scale.high * unit)) * (height - top);
  const values = ticks(scale).map((tick) => tick * unit);
  const marks = kind.bars ? bars(series, span, x, y) : lines(series, span, x, y);
  const middle = { x: (width + left) / 2, y: (height + top) / 2 + 4, "text-anchor": "middle", class: "empty-plot" };
  const svg = draw(
    "svg",
    { viewBox: `0 0 ${width} ${height + foot}`, role: "img", "aria-label": spoken(title, series, kind) },
    ...grid(values, { left, right: width, gap: 6 }, y, kind.show),
    ...hours(span, x),
    ...(any ? marks : [draw("text", middle, kind.empty)]),
  );
  return h("figure.timeline", {}, caption(title, series, span, kind, svg, x), svg);
}

/** @param {(number | null)[]} values */
const known = (values) => values.filter((value) => value !== null);

/**
 * @param {Series[]} series
 * @param {Span} span
 */
const sums = (series, { times }) =>
  times.map((_, place) => series.reduce((sum, { values }) => sum + (values[place] ?? 0), 0));

/**
 * The first, the middle and the last time.
 * @param {Span} span
 * @param {Position} x
 */
const hours = ({ from, to }, x) =>
  [
    { time: from, anchor: "start" },
    { time: (from + to) / 2, anchor: "middle" },
    { time: to, anchor: "end" },
  ].map(({ time, anchor }) => draw("text", { x: x(time), y: VIEW.height + 15, "text-anchor": anchor }, timeOf(time)));

/**
 * Paths that begin again after each gap, so that nothing is drawn where nothing is known; one value alone is a point.
 * @param {Series[]} series
 * @param {Span} span
 * @param {Position} x
 * @param {Position} y
 */
function lines(series, { times, seconds }, x, y) {
  return series.flatMap(({ values, hue }) => {
    const points = times.flatMap((time, place) => {
      const value = values[place];
      return value === null ? [] : { time, x: x(time).toFixed(1), y: y(value).toFixed(1) };
    });
    const joined = points.map(({ time }, place) => place > 0 && time - points[place - 1].time < 1500 * seconds);
    const path = points.map((one, place) => `${joined[place] ? "L" : "M"}${one.x} ${one.y}`);
    const alone = points.filter((_, place) => !joined[place] && !joined[place + 1]);
    return [
      draw("path", { d: path.join(""), class: `line series-${hue}` }),
      ...alone.map((one) => draw("circle", { cx: one.x, cy: one.y, r: 2.5, class: `series-${hue}` })),
    ];
  });
}

/**
 * @param {Series[]} series
 * @param {Span} span
 * @param {Position} x
 * @param {Position} y
 */
function bars(series, { times, seconds, from, to }, x, y) {
  const width = Math.max(1, x(from + 1000 * seconds) - x(from) - 0.6);
  return times.flatMap((time, place) =>
    stacked(series, place, y, ({ hue }, _, box) =>
      draw("rect", { x: Math.min(x(time), x(to) - width), width, ...box, class: `series-${hue}` }),
    ),
  );
}

/**
 * The title, and each series with its latest value, or the sum of its counts, or what is under the pointer.
 * @param {string} title
 * @param {Series[]} series
 * @param {Span} span
 * @param {Kind} kind
 * @param {SVGElement} svg
 * @param {Position} x
 */
function caption(title, series, { times }, kind, svg, x) {
  const values = h("ul.legend");
  /** @param {number | null} place */
  const tell = (place) => {
    const rows = series.map((one) => {
      const value = place === null ? overall(one.values, kind) : one.values[place];
      const words = value === null ? "–" : kind.show(value);
      return h("li", {}, h(`span.swatch.series-${one.hue}`), `${one.name} `, h("strong", {}, words));
    });
    fill(values, rows, place === null ? null : h("li", {}, timeOf(times[place])));
  };
  tell(null);
  svg.addEventListener("pointermove", ({ clientX }) => {
    const box = svg.getBoundingClientRect();
    const wanted = ((clientX - box.left) / box.width) * VIEW.width;
    const distances = times.map((time) => Math.abs(x(time) - wanted));
    if (times.length) tell(distances.indexOf(Math.min(...distances)));
  });
  svg.addEventListener("pointerleave", () => tell(null));
  return h("figcaption", {}, h("h3", {}, title), values);
}

/**
 * The sum of counts; else the latest value, null of none.
 * @param {(number | null)[]} values
 * @param {Kind} kind
 */
function overall(values, { bars }) {
  const found = known(values);
  return bars ? found.reduce((sum, value) => sum + value, 0) : (found.at(-1) ?? null);
}

/**
 * @param {string} title
 * @param {Series[]} series
 * @param {Kind} kind
 */
function spoken(title, series, kind) {
  const words = series.map(({ name, values }) => {
    const all = overall(values, kind);
    if (all === null || !known(values).length) return `${name}: ${kind.empty}`;
    const now = `${kind.show(all)} ${kind.bars ? "in all" : "at last"}`;
    return `${name}: ${now}, ${kind.show(Math.max(...known(values)))} at most`;
  });
  return `${title}. ${words.join("; ")}`;
}
