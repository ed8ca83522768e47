/** A number: a slider where its range is one that a hand can find, and always the figure itself. */
import { h, icon } from "../dom.js";

/** Seeds that are drawn stay short enough to be read out. */
const SEEDS = 2 ** 32;

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
 * The seed: as text, since it may be longer than a number can be exact; and a dice.
 * @type {MakeControl}
 */
export function seed(_field, id, changed) {
  const figure = h("input.figure", {
    id,
    type: "text",
    inputmode: "numeric",
    autocomplete: "off",
    spellcheck: "false",
    oninput: changed,
  });
  const write = (/** @type {Value} */ value) => {
    figure.value = String(value ?? "");
  };
  const put = (/** @type {number} */ value) => {
    write(value);
    changed();
  };
  const roll = h(
    "button.tool",
    {
      type: "button",
      title: "Draw a seed now",
      "aria-label": "Draw a seed now",
      onclick: () => put(drawSeed()),
    },
    icon("dice"),
  );
  const any = h(
    "button.quiet",
    {
      type: "button",
      title: "-1: the server draws a new one every time",
      onclick: () => put(-1),
    },
    "New each time",
  );
  return { element: h("div.seed", {}, figure, roll, any), input: figure, read: () => parsed(figure.value), write };
}

/** A seed that no picture had before, by all likelihood. */
export const drawSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;

/**
 * A number; null for nothing; the text itself where it is no number, or one that would lose digits as one.
 * @param {string} text
 */
function parsed(text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  const value = Number(trimmed);
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value)) ? value : trimmed;
}

const round = (/** @type {number} */ value) => Number(value.toFixed(6));
