/** The image's shape, as chips with little rectangles, which move width and height. */
import { h, unique } from "../dom.js";

/** @type {[wide: number, high: number][]} */
const RATIOS = [
  [1, 1],
  [3, 4],
  [2, 3],
  [9, 16],
  [4, 3],
  [3, 2],
  [16, 9],
];
/** By how much a shape may differ from the ratio that it is called by: sides come in steps. */
const TOLERANCE = 0.04;
/** The longer side of a chip's rectangle, in pixels. */
const LONG = 15;

/**
 * `value` is what the model's own parameter for shapes calls it; null where the sides alone say it.
 * @typedef {{name: string, width: number, height: number, value: Value}} Shape
 */

/**
 * The shapes that a model offers.
 * @param {Field} width
 * @param {Field} height
 * @param {Field | undefined} ratio the model's own parameter for shapes, which goes before width and height
 * @returns {Shape[]}
 */
function shapesOf(width, height, ratio) {
  if (ratio) return ratio.choices.flatMap(named);
  const pairs = width.choices.length ? everyPair(width, height) : RATIOS.map((ratio) => sized(ratio, width, height));
  return pairs.filter(({ name }, place) => name && pairs.findIndex((other) => other.name === name) === place);
}

/**
 * `9:16 portrait 768x1344` → its shape; nothing for one that names no size.
 * @param {Value} value
 * @returns {Shape[]}
 */
function named(value) {
  const [, name, width, height] = /^(\d+:\d+).*?(\d+)x(\d+)$/.exec(String(value)) ?? [];
  return name ? [{ name, width: Number(width), height: Number(height), value }] : [];
}

/**
 * Where a side is one of a few.
 * @param {Field} width
 * @param {Field} height
 * @returns {Shape[]}
 */
const everyPair = (width, height) =>
  width.choices.flatMap((wide) =>
    height.choices.map((high) => shape(Number(wide), Number(high), ratioName(Number(wide), Number(high)))),
  );

/**
 * A ratio with as many pixels as the model's own size, in steps that it takes; without a name where it has none.
 * @param {[wide: number, high: number]} ratio
 * @param {Field} width
 * @param {Field} height
 */
function sized([wide, high], width, height) {
  const area = Number(width.default) * Number(height.default);
  const [across, down] = [snap(Math.sqrt((area * wide) / high), width), snap(Math.sqrt((area * high) / wide), height)];
  const close = Math.abs((across * high) / (down * wide) - 1) < TOLERANCE;
  return shape(across, down, close ? `${wide}:${high}` : "");
}

/**
 * @param {number} width
 * @param {number} height
 * @param {string} name
 * @returns {Shape}
 */
const shape = (width, height, name) => ({ name, width, height, value: null });

/**
 * The nearest side that a field takes.
 * @param {number} side
 * @param {Field} field
 */
export function snap(side, { minimum: least = 0, maximum: most = Infinity, step }) {
  return Math.min(most, Math.max(least, Math.round(side / step) * step));
}

/**
 * 512 × 768 → `2:3`.
 * @param {number} width
 * @param {number} height
 */
function ratioName(width, height) {
  let [a, b] = [width, height];
  while (b) [a, b] = [b, a % b];
  return `${width / a}:${height / a}`;
}

/**
 * The chips of a form; null where its model draws one shape, or its input image's.
 * @param {(means: string) => import("../field.js").DrawnField | undefined} find
 * @param {() => void} changed
 */
export function createShape(find, changed) {
  const [width, height, ratio] = [find("width"), find("height"), find("aspect_ratio")];
  if (!width || !height) return null;
  const shapes = shapesOf(width.field, height.field, ratio?.field);
  if (shapes.length < 2) return null;
  const free = ratio?.field.choices.find((value) => !named(value).length);
  const group = unique("shape");
  const size = h("span.hint", { role: "status" });
  const chip = (/** @type {string} */ name, /** @type {string} */ title, /** @type {() => void} */ act) =>
    h("input", { type: "radio", name: group, "aria-label": title, title, "data-name": name, onchange: act });
  const put = (/** @type {Shape} */ { width: wide, height: high, value }) => {
    ratio?.control.write(value);
    width.control.write(wide);
    height.control.write(high);
  };
  const chips = shapes.map((one) =>
    chip(one.name, `${one.name}, ${one.width} × ${one.height} pixels`, () => {
      put(one);
      show();
      changed();
    }),
  );
  // Shapes that go before width and height have one that doesn't: a size of one's own.
  const own = free === undefined ? null : chip("own", "Own size: width and height, under Advanced", () => choose());

  /** Whether a shape of the model's own goes before width and height. */
  const overrides = () => Boolean(ratio && ratio.control.read() !== free);
  const chosen = () => {
    if (overrides()) return shapes.findIndex(({ value }) => value === ratio?.control.read());
    const sides = [width.control.read(), height.control.read()];
    return shapes.findIndex((one) => one.width === sides[0] && one.height === sides[1]);
  };
  const show = () => {
    const place = chosen();
    for (const [index, input] of chips.entries()) input.checked = index === place;
    if (own) own.checked = place < 0;
    size.textContent = [width, height].map(({ control }) => control.read() ?? "?").join(" × ");
  };
  /** Width or height was changed by hand: a shape that goes before them would make that untrue. */
  const follow = () => {
    if (ratio && free !== undefined) ratio.control.write(free);
    show();
    changed();
  };
  /** A size of one's own, though the sides may still be those of a shape. */
  const choose = () => {
    follow();
    if (own) own.checked = true;
  };
  /** Values were written: what a shape overrides is shown as it will be drawn. */
  const sync = () => {
    const place = chosen();
    if (overrides() && place >= 0) put(shapes[place]);
    show();
  };
  const label = unique("shape-label");
  const element = h(
    "div.field.tall.shape",
    {},
    h("div.label-line", {}, h("p.label", { id: label }, "Shape"), size),
    h(
      "div.chips",
      { role: "radiogroup", "aria-labelledby": label },
      shapes.map((one, place) => h("label", {}, chips[place], h("span", {}, rectangle(one), one.name))),
      own ? h("label", {}, own, h("span", {}, h("i.own", {}), "own")) : null,
    ),
  );
  // Where a side is one of two, an input image has most of the say.
  return { element, first: !width.field.choices.length, follow, sync };
}

/** @param {Shape} shape */
function rectangle({ width, height }) {
  const box = h("i");
  box.style.width = `${(LONG * width) / Math.max(width, height)}px`;
  box.style.height = `${(LONG * height) / Math.max(width, height)}px`;
  return box;
}
