/** A prompt: a text area that grows with its text. */
import { h } from "../dom.js";

/** @type {MakeControl} */
export function text(field, id, changed) {
  const area = h("textarea", {
    id,
    rows: field.means === "prompt" ? 3 : 2,
    spellcheck: "true",
    oninput: changed,
  });
  return {
    element: area,
    input: area,
    read: () => area.value,
    write(value) {
      area.value = String(value ?? "");
    },
  };
}
