/** The clipboard. */
import { h } from "./dom.js";

/**
 * Copy a text → whether it is copied: browsers lend the clipboard to https and localhost only, and with the reader's
 * consent.
 * @param {string} text
 */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * A button's act that copies what an element shows, or marks it where the browser doesn't let it; `said` is its answer.
 * @param {HTMLElement} element
 */
export function createCopy(element) {
  const said = h("span.hint", { role: "status" });
  const copy = async () => {
    const done = await copied(element.textContent ?? "");
    if (!done) getSelection()?.selectAllChildren(element);
    said.textContent = done ? "Copied" : "Marked: press Ctrl+C";
  };
  return { copy, said };
}
