/** The values that a strip goes over: figures separated by commas, or a choice of the names there are. */
import { h } from "./dom.js";

/**
 * The values in a strip's form: its `element`, and `read()`.
 * @typedef {{element: HTMLElement, read: () => Value[]}} Chooser
 */

/**
 * A chooser of values.
 * @param {Field} field
 * @param {Value} now the form's own value, to begin near it
 * @param {() => void} changed
 * @returns {Chooser}
 */
export function chooseValues(field, now, changed) {
  return field.kind === "choice" ? pills(field, now, changed) : figures(field, now, changed);
}

/**
 * @param {Field} field
 * @param {Value} now
 * @param {() => void} changed
 * @returns {Chooser}
 */
function pills(field, now, changed) {
  const first = [...new Set([now, ...field.choices])].slice(0, 4);
  const boxes = field.choices.map((value) =>
    h("input", { type: "checkbox", value, checked: first.includes(value), onchange: changed }),
  );
  const element = h(
    "div.pills",
    { role: "group", "aria-label": "Values" },
    boxes.map((box) => h("label", {}, box, h("span", {}, box.value))),
  );
  return { element, read: () => field.choices.filter((_, place) => boxes[place].checked) };
}

/**
 * @param {Field} field
 * @param {Value} now
 * @param {() => void} changed
 * @returns {Chooser}
 */
function figures(field, now, changed) {
  const input = h("input", {
    type: "text",
    "aria-label": "Values, separated by commas",
    oninput: changed,
    value: spread(field, now).join(", "),
  });
  const typed = () =>
    input.value
      .split(",")
      .map((text) => text.trim())
      .filter(Boolean);
  // Twice the same image would be paid twice.
  const read = () => [...new Set(typed().map((text) => (Number.isFinite(Number(text)) ? Number(text) : text)))];
  return { element: input, read };
}

/**
 * Four values that are worth comparing: seeds in a row, else the range around what the form has.
 * @param {Field} field
 * @param {Value} sent
 */
function spread({ means, minimum: least = -Infinity, maximum: most = Infinity, step, default: usual }, sent) {
  const now = Number(Number.isFinite(sent) ? sent : usual);
  if (means === "seed") {
    const first = now < 0 ? 1 : now;
    return [0, 1, 2, 3].map((more) => first + more);
  }
  const [low, high] =
    most <= 1 ? [0.3, 0.9] : [Math.max(least, now / 2), Math.min(most, Math.max(now * 2, least + 3 * step))];
  const even = [0, 1, 2, 3].map((place) => low + ((high - low) * place) / 3);
  return [...new Set(even.map((value) => Number((Math.round(value / step) * step).toFixed(4))))];
}
