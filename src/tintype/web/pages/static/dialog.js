/** Dialogs: one question or one message at a time, over the page. */
import { createCopy } from "./clipboard.js";
import { h, unique } from "./dom.js";
import { createError } from "./refusal.js";

/**
 * Open a dialog with a heading → the dialog, which is removed when it is closed; the focus then returns.
 * @param {string} title
 * @param {...Child} content
 */
export function openDialog(title, ...content) {
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const heading = h("h2", { id: unique("dialog-title") }, title);
  const dialog = h("dialog.sheet", { "aria-labelledby": heading.id }, heading, ...content);
  dialog.addEventListener("close", () => {
    dialog.remove();
    // What opened it may have been drawn again meanwhile.
    const again = before?.isConnected ? before : document.getElementById(before?.id ?? "");
    (again ?? document.querySelector("main"))?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * The button that closes a dialog without doing anything.
 * @param {() => void} close
 * @param {Attributes} attributes
 */
export const cancelButton = (close, attributes = {}) =>
  h("button.quiet", { type: "button", onclick: close, ...attributes }, "Cancel");

/**
 * Ask whether something shall be done; what `act` throws is shown.
 * @param {string} title
 * @param {string} words
 * @param {string} yes the button that does it
 * @param {() => Promise<unknown>} act
 * @param {"danger" | "primary"} kind danger for what can't be undone
 */
export function confirm(title, words, yes, act, kind = "danger") {
  const error = createError();
  const done = async () => {
    await act();
    dialog.close();
  };
  const button = h(`button.${kind}`, { type: "button", onclick: error.listener(done) }, yes);
  const row = h(
    "div.row",
    {},
    button,
    cancelButton(() => dialog.close(), { autofocus: true }),
  );
  const dialog = openDialog(title, h("p", {}, words), error.element, row);
}

/**
 * Show a secret, this once.
 * @param {string} title
 * @param {string} words
 * @param {string} secret
 */
export function showSecret(title, words, secret) {
  const code = h("code", {}, secret);
  const { copy, said } = createCopy(code);
  const dialog = openDialog(
    title,
    h("p", {}, words),
    h("p.secret", {}, code),
    h(
      "div.row",
      {},
      h("button.primary", { type: "button", onclick: copy }, "Copy"),
      h("button.quiet", { type: "button", onclick: () => dialog.close() }, "I have kept it"),
      said,
    ),
  );
}
