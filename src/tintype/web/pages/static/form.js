/** A model's form, drawn from its parameters as the server's JSON Schema describes them. */
import { problem } from "./check.js";
import { choice } from "./controls/choice.js";
import { number, seed } from "./controls/number.js";
import { picture } from "./controls/picture.js";
import { text } from "./controls/text.js";
import { toggle } from "./controls/toggle.js";
import { h, unique } from "./dom.js";
import { label } from "./words.js";

/**
 * The groups in their order; those with true are folded away.
 * @type {[group: string, title: string, folded?: boolean][]}
 */
const GROUPS = [
  ["picture", "Input picture"],
  ["prompt", "Prompt"],
  ["method", "How it is drawn"],
  ["size", "Size and number"],
  ["answer", "The answer", true],
];
/** @type {Record<Field["kind"], MakeControl>} */
const CONTROLS = { text, picture, choice, boolean: toggle, integer: number, number };

/**
 * A form: its `element`, and what can be done with it.
 * @param {Model} model
 * @param {() => void} changed called when a value was changed by hand
 */
export function createForm(model, changed) {
  const fields = model.fields.map((field) => draw(field, changed));
  const byName = new Map(fields.map((drawn) => [drawn.field.name, drawn]));
  const find = (/** @type {string} */ means) => fields.find(({ field }) => field.means === means);
  const element = h(
    "form.fields",
    { novalidate: true, onsubmit: (event) => event.preventDefault() },
    GROUPS.map(([group, title, folded]) =>
      section(
        title,
        fields.filter((drawn) => drawn.field.group === group),
        folded,
      ),
    ),
  );
  return {
    element,
    /** @returns {Values} */
    values: () => Object.fromEntries(fields.map(({ field, control }) => [field.name, control.read()])),
    /** @param {Values} values */
    write(values) {
      for (const [name, value] of Object.entries(values)) byName.get(name)?.control.write(value);
    },
    /**
     * Put something below the field that has this meaning.
     * @param {string} means
     * @param {HTMLElement | null} extra
     */
    below(means, extra) {
      if (extra) find(means)?.row.append(extra);
    },
    /** @param {string} means */
    focus: (means) => find(means)?.control.input.focus(),
    /** Complain at every field that can't be sent → whether all can. */
    sound() {
      const wrong = fields.filter(({ field, control, complain }) => complain(problem(field, control.read())));
      if (wrong.length) reveal(wrong[0]);
      return wrong.length === 0;
    },
    /**
     * Show what the server says of one field → whether there is such a field.
     * @param {string} name
     * @param {string} words
     */
    complain(name, words) {
      const drawn = byName.get(name);
      if (!drawn) return false;
      drawn.complain(words);
      reveal(drawn);
      return true;
    },
  };
}

/** @typedef {ReturnType<typeof draw>} DrawnField */

/** @param {DrawnField} drawn */
function reveal({ row, control }) {
  for (let fold = row.closest("details"); fold; fold = fold.parentElement?.closest("details") ?? null) fold.open = true;
  control.input.focus();
}

/**
 * @param {string} title
 * @param {DrawnField[]} drawn
 * @param {boolean} folded
 */
function section(title, drawn, folded = false) {
  const shown = drawn.filter(({ field }) => field.choices.length !== 1);
  if (!shown.length) return null;
  const rows = shown.map(({ row }) => row);
  if (folded) return h("details.group", {}, h("summary", {}, title), rows);
  return h("fieldset.group", {}, h("legend", {}, title), rows);
}

/**
 * @param {Field} field
 * @param {() => void} changed
 */
function draw(field, changed) {
  const id = unique(field.name);
  const make = field.means === "seed" ? seed : CONTROLS[field.kind];
  const error = h("p.error", { id: `${id}-error`, role: "alert" });
  const control = make(field, id, () => {
    complain("");
    changed();
  });
  control.input.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  const name = named(field, id, control);
  const help = h("p.hint", { id: `${id}-help` }, field.help);
  const body = field.kind === "boolean" ? [h("div.check", {}, control.element, name)] : [name, control.element];
  const inside = [...body, help, error];
  const fold = field.means === "negative_prompt";
  const row = fold
    ? h("details.field", { "data-field": field.name }, h("summary", {}, label(field.means)), inside)
    : h("div.field", { "data-field": field.name }, inside);
  const complain = (/** @type {string} */ words) => {
    error.textContent = words;
    control.input.setAttribute("aria-invalid", String(Boolean(words)));
    return Boolean(words);
  };
  return { field, control, row, complain };
}

/**
 * @param {Field} field
 * @param {string} id
 * @param {Control} control
 */
function named(field, id, control) {
  // What it means for any model, and what this one's API calls it.
  const words = [
    label(field.means),
    " ",
    h("code", { "aria-hidden": "true" }, field.name),
    field.required ? h("span.needed", {}, " needed") : null,
  ];
  if (control.input.getAttribute("role") !== "radiogroup") return h("label", { for: id }, words);
  control.input.setAttribute("aria-labelledby", `${id}-label`);
  return h("p.label", { id: `${id}-label` }, words);
}
