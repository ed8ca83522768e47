/** With what an image was made: every setting under the name that the form gives it. */
import { lifeOf, moment } from "./dates.js";
import { h } from "./dom.js";
import { bytes, dollars, duration, nameOf, wait } from "./words.js";

/** Settings that say nothing of an image, or that are said elsewhere. */
const LEFT_OUT = new Set(["prompt", "seed", "image", "mask", "control", "base64"]);

/**
 * The list of an image's facts and settings.
 * @param {Api.Image} image
 * @param {Model | undefined} model undefined where it is no longer served
 */
export function settingsOf(image, model) {
  /** @type {[string, Child][]} */
  const rows = [
    ["Model", model ? h("a", { href: `/models/${model.slug}` }, model.title) : image.model],
    ["Seed", image.seed],
    ["Size", [image.width && `${image.width} × ${image.height} pixels`, bytes(image.bytes)].filter(Boolean).join(", ")],
    ...valueRows(image.parameters, model),
    ...metricRows(image),
    ["Made", h("time", { datetime: image.created_at }, moment(image.created_at))],
    ["Life", lifeOf(image)],
  ];
  return listed(rows);
}

/** @param {[string, Child][]} rows */
export const listed = (rows) => h("dl.settings", {}, terms(rows));

/**
 * Names and values, for a `dl`.
 * @param {[string, Child][]} rows
 */
export const terms = (rows) => rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));

/**
 * What making it took.
 * @param {Api.Metrics} metrics
 * @param {number} [count] images that it is of
 * @returns {[string, string][]}
 */
export const metricRows = ({ cost, inference_time: drawing, queue_time: waiting }, count = 1) => [
  [count > 1 ? `Cost of all ${count}` : "Cost", cost ? dollars(cost) : "free"],
  [count > 1 ? "All drawn in" : "Drawn in", duration(drawing)],
  ["Waited", wait(waiting)],
];

/**
 * Values under the names that the form gives them, without those that say nothing of an image.
 * @param {Values} parameters
 * @param {Model} [model]
 * @returns {[string, string][]}
 */
export function valueRows(parameters, model) {
  const fields = model?.fields ?? Object.keys(parameters).map((name) => ({ name, means: name }));
  return fields
    .filter(({ name, means }) => !LEFT_OUT.has(means || name))
    .map(({ name, means }) => /** @type {const} */ ([nameOf({ means: means || name }), parameters[name] ?? ""]))
    .filter(([, value]) => value !== "")
    .map(([name, value]) => [name, value === true ? "yes" : value === false ? "no" : String(value)]);
}
