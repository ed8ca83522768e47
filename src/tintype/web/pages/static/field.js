/** One field of a form: its label, said once; its control; a hint where that adds something; what is wrong with it. */
import { problem } from "./check.js";
import { choice } from "./controls/choice.js";
import { image } from "./controls/image.js";
import { mask } from "./controls/mask.js";
import { number } from "./controls/number.js";
import { seed } from "./controls/seed.js";
import { text } from "./controls/text.js";
import { toggle } from "./controls/toggle.js";
import { h, unique } from "./dom.js";
import { nameOf } from "./words.js";

/** @type {Record<Field["kind"], MakeControl>} */
const CONTROLS = { text, image, choice, boolean: toggle, integer: number, number };
/**
 * Of what a meaning, not a kind, has a control of its own.
 * @type {Partial<Record<string, MakeControl>>}
 */
const BY_MEANING = { seed, mask };
/** What the label says alone; who only hears the page is told the whole of it. */
const PLAIN = [
  "prompt",
  "negative_prompt",
  "image",
  "mask",
  "count",
  "seed",
  "sampler",
  "schedule",
  "width",
  "height",
  "format",
];
/** Controls that need the whole width, below their label. */
const TALL = ["prompt", "image", "mask"];

/**
 * @typedef {object} DrawnField
 * @property {Field} field
 * @property {Control} control
 * @property {HTMLElement} row
 * @property {HTMLElement} head the label's line
 * @property {(words: string) => boolean} complain says what is wrong, nothing for "" → whether anything is
 */

/**
 * @param {Field} field
 * @param {() => void} changed called when its value was changed by hand
 * @returns {DrawnField}
 */
export function drawField(field, changed) {
  const id = unique(field.name);
  const make = BY_MEANING[field.means] ?? CONTROLS[field.kind];
  const error = h("p.error", { id: `${id}-error`, role: "alert" });
  const control = make(field, id, () => {
    // Of a text only its length can be wrong, which is said at once: a paste is never cut.
    complain(field.kind === "text" && control.read() ? problem(field, control.read()) : "");
    changed();
  });
  control.input.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  if (field.required && control.input.matches("input, textarea")) control.input.setAttribute("aria-required", "true");
  const help = h(`p.hint${PLAIN.includes(field.means) ? ".unseen" : ""}`, { id: `${id}-help` }, field.help);
  const head = h("div.label-line", {}, named(field, id, control));
  const tall = TALL.includes(field.means) ? ".tall" : "";
  const row = h(
    `div.field${tall}`,
    { "data-field": field.name, "data-means": field.means },
    head,
    control.element,
    help,
    error,
  );
  const complain = (/** @type {string} */ words) => {
    error.textContent = words;
    control.input.setAttribute("aria-invalid", String(Boolean(words)));
    return Boolean(words);
  };
  return { field, control, row, head, complain };
}

/**
 * @param {Field} field
 * @param {string} id
 * @param {Control} control
 */
function named(field, id, control) {
  // And what this model's API calls it, which who builds on it may have shown.
  const words = [nameOf(field), h("code", { "aria-hidden": "true" }, field.name)];
  if (control.input.matches("input, select, textarea")) return h("label", { for: id }, words);
  control.input.setAttribute("aria-labelledby", `${id}-label`);
  return h("p.label", { id: `${id}-label` }, words);
}

/**
 * Bring a field into sight and focus.
 * @param {DrawnField} drawn
 */
export function reveal({ row, control }) {
  for (const start of [control.input, row])
    for (let fold = start.closest("details"); fold; fold = fold.parentElement?.closest("details") ?? null)
      fold.open = true;
  control.input.focus();
}
