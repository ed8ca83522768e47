/** One of a few values: buttons for up to four, a list for up to eight, a list to search in for more. */
import { fill, h, unique } from "../dom.js";
import { combobox } from "./combobox.js";

const BUTTONS = 4;
const LIST = 8;

/** @type {MakeControl} */
export function choice(field, id, changed) {
  if (field.choices.length > LIST) return combobox(field, id, changed);
  return field.choices.length > BUTTONS ? list(field, id, changed) : buttons(field, id, changed);
}

/** @type {MakeControl} */
function list(field, id, changed) {
  const options = field.choices.map((value) => h("option", { value }, String(value)));
  const select = h("select", { id, onchange: changed }, options);
  return {
    element: select,
    input: select,
    read: () => typed(field, select.value),
    write(value) {
      select.value = String(value);
    },
  };
}

/** @type {MakeControl} */
function buttons(field, id, changed) {
  const group = unique(field.name);
  const inputs = field.choices.map((value) => h("input", { type: "radio", name: group, value, onchange: changed }));
  const element = h("div.segments", { id, role: "radiogroup" });
  fill(
    element,
    inputs.map((input) => h("label", {}, input, h("span", {}, input.value))),
  );
  return {
    element,
    input: element,
    read: () => typed(field, inputs.find((input) => input.checked)?.value ?? null),
    write(value) {
      for (const input of inputs) input.checked = input.value === String(value);
    },
  };
}

/**
 * The choice as it is in the catalogue, where an option has only its text.
 * @param {Field} field
 * @param {string | null} text
 */
const typed = (field, text) => field.choices.find((value) => String(value) === text) ?? text;
