/** A number: a slider where its range is one that a hand can find, and always the figure itself. */
import { h } from "../dom.js";

/** @type {MakeControl} */
export function number(field, id, changed) {
  const { minimum: least = -Infinity, maximum: most = Infinity } = field;
  const figure = h("input.figure", {
    id,
    type: "number",
    inputmode: field.type === "integer" ? "numeric" : "decimal",
    min: field.minimum,
    max: field.maximum,
    step: field.step,
    placeholder: field.default,
  });
  const slider = h("input", {
    type: "range",
    min: field.minimum,
    max: field.maximum,
    step: "any",
    tabindex: -1,
    "aria-hidden": "true",
  });
  const snap = () => Math.min(most, round(Math.round(Number(slider.value) / field.step) * field.step));
  const show = () =>
    slider.style.setProperty("--filled", `${(100 * (Number(slider.value) - least)) / (most - least)}%`);
  slider.addEventListener("input", () => {
    figure.value = String(Math.max(least, snap()));
    show();
    changed();
  });
  figure.addEventListener("input", () => {
    slider.value = figure.value;
    show();
    changed();
  });
  const write = (/** @type {Value} */ value) => {
    for (const input of [figure, slider]) input.value = String(value ?? "");
    show();
  };
  return { element: h("div.slider", {}, slider, figure), input: figure, read: () => parsed(figure.value), write };
}

/**
 * A number; null for nothing; the text itself where it is no number, or one that would lose digits as one.
 * @param {string} text
 */
export function parsed(text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  const value = Number(trimmed);
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value)) ? value : trimmed;
}

const round = (/** @type {number} */ value) => Number(value.toFixed(6));
