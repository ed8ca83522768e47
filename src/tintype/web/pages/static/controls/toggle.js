/** True or false. */
import { h } from "../dom.js";

/** @type {MakeControl} */
export function toggle(_field, id, changed) {
  const box = h("input", { id, type: "checkbox", onchange: changed });
  return {
    element: box,
    input: box,
    read: () => box.checked,
    write(value) {
      box.checked = Boolean(value);
    },
  };
}
