/** A model's form, drawn from its parameters as the server's JSON Schema describes them. */
import { problem } from "./check.js";
import { choice } from "./controls/choice.js";
import { number, seed } from "./controls/number.js";
import { picture } from "./controls/picture.js";
import { text } from "./controls/text.js";
import { toggle } from "./controls/toggle.js";
import { h, unique } from "./dom.js";
import { label } from "./words.js";

/** The groups in their order; those with true are folded away. */
const GROUPS = [
  ["picture", "Input picture"],
  ["prompt", "Prompt"],
  ["method", "How it is drawn"],
  ["size", "Size and number"],
  ["answer", "The answer", true],
];
const CONTROLS = { text, picture, choice, boolean: toggle, integer: number, number };

/** A form with `element`, `values()`, `write(values)`, `problems()`, `complain(name, words)`. */
export function createForm(model, changed) {
  const fields = model.fields.map((field) => draw(field, () => (check(field), changed())));
  const byName = new Map(fields.map((drawn) => [drawn.field.name, drawn]));
  const check = ({ name }) => byName.get(name).complain("");
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
    values: () => Object.fromEntries(fields.map(({ field, control }) => [field.name, control.read()])),
    write: (values) => Object.entries(values).forEach(([name, value]) => byName.get(name)?.control.write(value)),
    /** Put something below the field that has this meaning. */
    below: (means, extra) => extra && fields.find(({ field }) => field.means === means).row.append(extra),
    focus: (means) => fields.find(({ field }) => field.means === means)?.control.input.focus(),
    /** Complain beside every field that can't be sent → whether all can. */
    sound() {
      const wrong = fields.filter(({ field, control, complain }) => complain(problem(field, control.read())));
      if (wrong.length) reveal(wrong[0]);
      return wrong.length === 0;
    },
    /** Show what the server says of one field → whether there is such a field. */
    complain(name, words) {
      const drawn = byName.get(name);
      if (drawn) drawn.complain(words), reveal(drawn);
      return Boolean(drawn);
    },
  };
}

function reveal({ row, control }) {
  for (let fold = row.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  control.input.focus();
}

function section(title, drawn, folded) {
  const shown = drawn.filter(({ field }) => field.choices.length !== 1);
  if (!shown.length) return null;
  const rows = shown.map(({ row }) => row);
  if (folded) return h("details.group", {}, h("summary", {}, title), rows);
  return h("fieldset.group", {}, h("legend", {}, title), rows);
}

function draw(field, changed) {
  const id = unique(field.name);
  const make = field.means === "seed" ? seed : CONTROLS[field.kind];
  const control = make(field, id, changed);
  const error = h("p.error", { id: `${id}-error`, role: "alert" });
  control.input.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  const name = named(field, id, control);
  const help = h("p.hint", { id: `${id}-help` }, field.help);
  const body = field.kind === "boolean" ? [h("div.check", {}, control.element, name)] : [name, control.element];
  const inside = [...body, help, error];
  const fold = field.means === "negative_prompt";
  const row = fold
    ? h("details.field", { "data-field": field.name }, h("summary", {}, label(field.means)), inside)
    : h("div.field", { "data-field": field.name }, inside);
  const complain = (words) => {
    error.textContent = words;
    control.input.setAttribute("aria-invalid", String(Boolean(words)));
    return Boolean(words);
  };
  return { field, control, row, complain };
}

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
