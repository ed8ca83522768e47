/** A question before something that is not easily taken back. */
import { h, unique } from "./dom.js";

/** Ask → whether the answer was `verb`, and not to leave it be. */
export function confirmed(title, words, verb) {
  const before = document.activeElement?.id;
  const [name, help] = [unique("ask"), unique("ask")];
  const leave = h("button.quiet", { type: "submit", value: "" }, "Not now");
  const dialog = h("dialog.sheet", { "aria-labelledby": name, "aria-describedby": help }, h("form", { method: "dialog" },
    h("h2", { id: name }, title), h("p", { id: help }, words),
    h("div.row", {}, h("button.primary", { type: "submit", value: "yes" }, verb), leave)));
  document.body.append(dialog);
  dialog.showModal();
  leave.focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    dialog.remove();
    // What asked may have been drawn anew meanwhile.
    if (before) document.getElementById(before)?.focus();
    resolve(dialog.returnValue === "yes");
  }));
}
