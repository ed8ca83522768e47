/** What is folded away under "Advanced": its line says what in it differs, so that nothing hidden surprises. */
import { h } from "./dom.js";
import { remember, remembered } from "./remember.js";
import { nameOf } from "./words.js";

const NAMES = "api-names";

/**
 * The fold's `element`; `summarise` for other values; `names` tells it what shows the API's names, or doesn't.
 * @param {import("./field.js").DrawnField[]} fields
 * @param {HTMLElement[]} more what is folded with them
 * @param {Values} first what a fresh form has
 * @param {() => void} reset
 */
export function createAdvanced(fields, more, first, reset) {
  const differs = h("span.differs");
  const names = h("input", { type: "checkbox", checked: remembered(NAMES) !== null });
  const again = h("button.quiet.reset", { type: "button", onclick: reset }, "Reset");
  const fold = h(
    "details.advanced",
    {},
    h("summary", {}, "Advanced", differs),
    h(
      "div.fields",
      {},
      fields.map(({ row }) => row),
      more,
      h("label.check", {}, names, "API names"),
    ),
  );
  return {
    element: h("div.folded", {}, fold, again),
    summarise() {
      const changed = fields.filter(({ field, control }) => text(control.read()) !== text(first[field.name]));
      const said = changed.map(({ field, control }) => `${nameOf(field)} ${inWords(control.read())}`).join(" · ");
      differs.textContent = said;
      differs.title = said;
    },
    /** @param {HTMLElement[]} places */
    names(places) {
      const show = () => {
        for (const place of places) place.classList.toggle("named", names.checked);
      };
      names.addEventListener("change", () => {
        remember(NAMES, names.checked ? "shown" : null);
        show();
      });
      show();
    },
  };
}

/** @param {Value | undefined} value */
const text = (value) => String(value ?? "");

/** @param {Value} value */
const inWords = (value) => ({ true: "on", false: "off", "": "none" })[text(value)] ?? text(value);
