/** Numbers and names as people read them. */

/**
 * Dollars down to a millionth where that says more than cents.
 * @param {number} amount
 * @param {number} [digits] how many stand behind the point
 */
export function dollars(amount, digits) {
  const [least, most] = digits === undefined ? [2, 6] : [digits, digits];
  return `$${amount.toLocaleString("en", { minimumFractionDigits: least, maximumFractionDigits: most })}`;
}

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
 * `guidance_scale` → `Guidance scale`.
 * @param {string} name
 */
export function label(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

/**
 * What a model costs, in a few words.
 * @param {Model} model
 */
export const price = (model) => (model.price === 0 ? "free" : `${dollars(model.price)} per ${model.price_per}`);

/**
 * ` for $0.0074`, where this many pictures have a price that is known before; a test key's are free.
 * @param {Model} model
 * @param {number} count
 * @param {boolean} test
 */
export function forPrice({ price, price_per: unit }, count, test) {
  return price > 0 && unit === "picture" && !test ? ` for ${dollars(price * count)}` : "";
}

/**
 * How long a picture takes: as measured here, or as the vendor says where nothing was made here yet.
 * @param {Model} model
 */
export function pace(model) {
  return model.measured_seconds === null
    ? `about ${duration(model.typical_seconds)} on the vendor's machines`
    : `about ${duration(model.measured_seconds)} here`;
}

/**
 * A moment of an answer as people of this place and time zone write it.
 * @param {Api.Moment} text
 */
export const moment = (text) => new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

/**
 * The day of such a moment.
 * @param {Api.Moment} text
 */
export const date = (text) => new Date(text).toLocaleDateString([], { dateStyle: "medium" });

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
 * A moment's time of the day, where the reader is.
 * @param {Api.Moment | number} moment
 */
export const timeOf = (moment) => new Date(moment).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
