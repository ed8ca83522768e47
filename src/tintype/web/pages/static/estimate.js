/** How long a request with some values takes on this server, by what was measured; and how many steps it draws. */
import { imageCount, named } from "./models.js";

/** Sizes are rounded to multiples of this. */
const MULTIPLE = 16;

/**
 * Seconds of a request's own work, without those that it waits for others; null where nothing was measured yet.
 * @param {Model} model
 * @param {Values} values
 */
export function estimate(model, values) {
  const evaluation = measured(model.pace.seconds, sizeBits(model, values), rows(model, values));
  return evaluation === null ? null : evaluation * evaluations(model, values);
}

/**
 * How many of its steps a request draws: where the model has an input image, a low strength leaves the first ones out.
 * @param {Model} model
 * @param {Values} values
 */
export function drawnSteps(model, values) {
  const steps = number(model, values, "steps");
  return model.pace.skips ? Math.floor(steps * (number(model, values, "strength") || 1)) : steps;
}

/**
 * `25 steps × strength 0.8 = 20 drawn`; empty where all steps are drawn.
 * @param {Model} model
 * @param {Values} values
 */
export function stepsInWords(model, values) {
  const [steps, drawn] = [number(model, values, "steps"), drawnSteps(model, values)];
  return drawn === steps ? "" : `${steps} steps × strength ${number(model, values, "strength")} = ${drawn} drawn`;
}

/**
 * How often the model is evaluated per image: by samplers of order two about twice per step.
 * @param {Model} model
 * @param {Values} values
 */
function evaluations(model, values) {
  const sampler = String(value(model, values, "sampler") ?? "");
  const [perStep, further] = model.pace.evaluations[sampler] ?? [1, 0];
  const steps = Math.max(1, drawnSteps(model, values));
  // As many as steps are left, in the last ones.
  const [full, last] = [Math.max(0, steps - perStep), Math.min(perStep, steps)];
  return full * perStep + (last * (last + 1)) / 2 + further;
}

/**
 * Seconds of an evaluation: as measured for this size and number of rows, or else for the most similar ones, scaled.
 * @param {Record<string, number>} seconds
 * @param {number} bits
 * @param {number} rows
 */
function measured(seconds, bits, rows) {
  /** @param {string} key */
  const times = (key) => {
    const [otherBits, otherRows] = key.split(" ").map(Number);
    return (bits && otherBits ? 2 ** (bits - otherBits) : 1) * (rows / otherRows);
  };
  const [nearest] = Object.keys(seconds)
    .map((key) => ({ key, scale: times(key) }))
    .sort((one, other) => Math.abs(Math.log(one.scale)) - Math.abs(Math.log(other.scale)));
  return nearest ? seconds[nearest.key] * nearest.scale : null;
}

/**
 * Images, and twice as many with guidance, which evaluates the model without the prompt too.
 * @param {Model} model
 * @param {Values} values
 */
const rows = (model, values) => imageCount(model, values) * (number(model, values, "guidance") > 1 ? 2 : 1);

/**
 * Bits of width × height; 0 where only the input image tells them.
 * @param {Model} model
 * @param {Values} values
 */
function sizeBits(model, values) {
  const ratio = /(\d+)x(\d+)$/.exec(String(value(model, values, "aspect_ratio") ?? ""));
  const sides = ratio ? ratio.slice(1).map(Number) : ["width", "height"].map((side) => number(model, values, side));
  const [width, height] = sides.map((side) => Math.round(side / MULTIPLE) * MULTIPLE);
  return width * height ? Math.floor(Math.log2(width * height)) + 1 : 0;
}

/**
 * @param {Model} model
 * @param {Values} values
 * @param {string} means
 */
const number = (model, values, means) => Number(value(model, values, means) ?? 0) || 0;

/**
 * What the form has of a meaning, or what the model fixes.
 * @param {Model} model
 * @param {Values} values
 * @param {string} means
 * @returns {Value | undefined}
 */
function value(model, values, means) {
  const field = named(model, means);
  return field ? (values[field.name] ?? field.default) : model.pace.fixed[means];
}
