/** Plates: what each press of Generate asked for. Plain data: all that is known of them is a function here. */
import { imageCount, named, nameFor } from "./models.js";
import { label } from "./words.js";

/**
 * What a plate is called by, of the states of its runs: the first that one has.
 * @type {Run["state"][]}
 */
const STATES = ["running", "sending", "done", "failed"];

/** An id that no other one has, also where a browser lends no `randomUUID`: to pages without https. */
const drawId = () => [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("");

/**
 * A plate that is still to be sent.
 * @param {string} slug
 * @param {Values} values
 * @param {{varied?: string, over?: Value[]}} strip what differs from run to run, and its values
 * @returns {Plate}
 */
export function newPlate(slug, values, { varied, over = [] } = {}) {
  const runs = varied ? over.map((value) => newRun(value)) : [newRun()];
  return { id: drawId(), slug, at: Date.now(), values, varied, runs };
}

/**
 * @param {Value} [value]
 * @returns {Run}
 */
export const newRun = (value) => ({ key: drawId(), value, state: "sending" });

/** @param {Run} run */
export const unfinished = ({ state }) => state === "sending" || state === "running";

/**
 * What a plate is, with all its runs.
 * @param {Plate} plate
 * @returns {Run["state"]}
 */
export function stateOf({ runs: all }) {
  return STATES.find((state) => all.some((run) => run.state === state)) ?? "cancelled";
}

/** @param {Plate} plate */
export const active = (plate) => plate.runs.some(unfinished);

/**
 * The values of one of its requests.
 * @param {Plate} plate
 * @param {Run} run
 * @returns {Values}
 */
export const valuesOf = ({ values, varied }, run) => (varied ? { ...values, [varied]: run.value ?? null } : values);

/**
 * How many images it is to give.
 * @param {Model} model
 * @param {Plate} plate
 */
export const countOf = (model, plate) => plate.runs.length * imageCount(model, plate.values);

/**
 * Its finished images, each with the values that make this one again.
 * @param {Model} model
 * @param {Plate} plate
 * @returns {MadeImage[]}
 */
export function imagesOf(model, plate) {
  const [seed, count] = [nameFor(model, "seed"), named(model, "count")?.name];
  return plate.runs.flatMap((run) =>
    (run.images ?? []).map((file) => {
      const alone = { ...(count && { [count]: 1 }), [seed]: file.seed ?? "" };
      return { file, plate, run, values: { ...valuesOf(plate, run), ...alone } };
    }),
  );
}

/**
 * What it is called: the beginning of its prompt.
 * @param {Model} model
 * @param {Plate} plate
 */
export function titleOf(model, { values, varied }) {
  const prompt = String(values[nameFor(model, "prompt")] ?? "").trim();
  const short = prompt.length > 60 ? `${prompt.slice(0, 58)}…` : prompt;
  const means = model.fields.find(({ name }) => name === varied)?.means;
  return [short && `“${short}”`, means && `strip of ${label(means).toLowerCase()}`].filter(Boolean).join(", ");
}

/**
 * Values without images that lie in them as text: those are long, and a device remembers little.
 * @param {Values} values
 */
export const short = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => !isLong(value)));

/** @param {Value} value */
export const isLong = (value) => String(value).startsWith("data:");
