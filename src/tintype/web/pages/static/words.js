/** Numbers and names as people read them. */

/**
 * Dollars and cents; below a dollar, where cents don't tell it, at least four places: what one image costs.
 * @param {number} amount
 */
export function dollars(amount) {
  const cents = Math.abs(amount) >= 1 || Math.abs(amount * 100 - Math.round(amount * 100)) < 1e-6;
  return cents ? places(amount, 2, 2) : places(amount, 4, 6);
}

/**
 * Dollars to the last place that counts, at least four: what a ledger has.
 * @param {number} amount
 */
export const exact = (amount) => places(amount, 4, 6);

/**
 * What is left, never more than that: whole cents from a dollar on.
 * @param {number} amount
 */
export const left = (amount) => dollars(amount < 1 ? amount : Math.floor(amount * 100 + 1e-6) / 100);

/**
 * Dollars at an axis, all with the places that its step needs.
 * @param {number} tick
 * @param {number} step
 */
export function onAxis(tick, step) {
  const digits = step >= 1 ? 0 : step >= 0.01 ? 2 : 4;
  return places(tick, digits, digits);
}

/**
 * @param {number} amount
 * @param {number} least
 * @param {number} most
 */
const places = (amount, least, most) =>
  `$${amount.toLocaleString("en", { minimumFractionDigits: least, maximumFractionDigits: most })}`;

/** @type {[size: number, unit: string][]} */
const UNITS = [
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
];

/**
 * Seconds, minutes, hours or days, whichever is shortest.
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 10) return `${Number(seconds.toPrecision(2))} s`;
  const [size, unit] = UNITS.find(([size]) => seconds >= 2 * size || Math.abs(seconds / size - 1) < 0.1) ?? [1, "s"];
  const count = Math.round(seconds / size);
  return unit === "s" ? `${count} s` : `${count} ${unit}${count === 1 ? "" : "s"}`;
}

/**
 * Seconds for which something waited; what nobody notices is none.
 * @param {number} seconds
 */
export const wait = (seconds) => (seconds < 0.1 ? "no wait" : duration(seconds));

/**
 * `guidance_scale` → `Guidance scale`.
 * @param {string} name
 */
export function label(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

/** @type {Partial<Record<string, string>>} */
const NAMES = { count: "Images", format: "File format", aspect_ratio: "Shape" };

/**
 * What a parameter is called, for any model.
 * @param {Pick<Field, "means">} field
 */
export const nameOf = ({ means }) => NAMES[means] ?? label(means);

/**
 * What a price is for; the answer's "picture" is an image.
 * @param {Model} model
 */
const unit = ({ price_per: per }) => (per === "picture" ? "image" : per);

/**
 * What a model costs, in a few words.
 * @param {Model} model
 */
export const price = (model) => (model.price === 0 ? "free" : `${exact(model.price)} per ${unit(model)}`);

/**
 * ` for $0.0074`, where this many images have a price that is known before; a test key's are free.
 * @param {Model} model
 * @param {number} count
 * @param {boolean} test
 */
export function forPrice({ price, price_per: per }, count, test) {
  return price > 0 && per === "picture" && !test ? ` for ${dollars(price * count)}` : "";
}

/**
 * How long an image takes: as measured here, or as the vendor says where nothing was made here yet.
 * @param {Model} model
 */
export function pace(model) {
  return model.measured_seconds === null
    ? `about ${duration(model.typical_seconds)} at the vendor's`
    : `about ${duration(model.measured_seconds)} here`;
}

/** @type {[size: number, unit: string][]} */
const SIZES = [
  [2 ** 30, "GiB"],
  [2 ** 20, "MiB"],
];

/**
 * Bytes in the unit that leaves the fewest digits.
 * @param {number | undefined} count
 */
export function bytes(count) {
  if (!count) return "0";
  const [size, unit] = SIZES.find(([size]) => count >= size) ?? [2 ** 10, "KiB"];
  return `${Number((count / size).toPrecision(3))} ${unit}`;
}

/**
 * Seconds that may be a few thousandths.
 * @param {number} seconds
 */
export const brief = (seconds) => (seconds < 1 ? `${Number((seconds * 1000).toPrecision(3))} ms` : duration(seconds));

/**
 * A model's name where there is little room: "SD 1.5 · image to image"; an operator's own stays as it is.
 * @param {Model} model
 */
export const shortTitle = ({ title }) =>
  title
    .replace(/^Stable Diffusion /, "SD ")
    .replace(
      / (image to image|text to image|inpainting)$/,
      (kind) => `\u00a0· ${kind.trim().replaceAll(" ", "\u00a0")}`,
    );
