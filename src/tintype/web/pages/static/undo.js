/** A line that says what has overwritten the form, and takes it back. */
import { fill, h, icon } from "./dom.js";

/** The line's `element`; `offer` shows it, until it was taken, closed, or something else has overwritten the form. */
export function createUndo() {
  const words = h("span", { role: "status" });
  /** @type {(() => void) | null} */
  let back = null;
  const close = () => {
    back = null;
    element.hidden = true;
    fill(words);
  };
  const take = () => {
    back?.();
    close();
  };
  const element = h(
    "div.undo",
    { hidden: true },
    words,
    h("button.quiet", { type: "button", onclick: take }, icon("undo"), "Undo"),
    h(
      "button.quiet.close",
      { type: "button", "aria-label": "Keep it so", title: "Keep it so", onclick: close },
      icon("close"),
    ),
  );
  return {
    element,
    /**
     * @param {string} said
     * @param {() => void} undo
     */
    offer(said, undo) {
      back = undo;
      element.hidden = false;
      words.textContent = said;
    },
  };
}
