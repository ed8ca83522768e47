/** Dialogs: one question or one message at a time, over the page. */
import { copied } from "./clipboard.js";
import { h } from "./dom.js";

/** Open a dialog with a heading; → the dialog, which is taken away when it is closed, and the focus given back. */
export function openDialog(title, ...content) {
  const before = document.activeElement;
  const heading = h("h2", { id: "dialog-title" }, title);
  const dialog = h("dialog.sheet", { "aria-labelledby": "dialog-title" }, heading, ...content);
  dialog.addEventListener("close", () => {
    dialog.remove();
    // What opened it may have been drawn anew meanwhile.
    (before?.isConnected ? before : document.getElementById(before?.id))?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask whether something shall be done; `act` does it, and what it throws is shown. `kind` is danger for what can't be undone. */
export function confirm(title, words, yes, act, kind = "danger") {
  const error = h("p.error", { role: "alert" });
  const go = async ({ target: button }) => {
    button.disabled = true;
    try {
      await act();
      dialog.close();
    } catch (refused) {
      error.textContent = [refused.message, refused.advice].filter(Boolean).join(" ");
      button.disabled = false;
    }
  };
  const dialog = openDialog(
    title,
    h("p", {}, words),
    error,
    h(
      "div.row",
      {},
      h(`button.${kind}`, { type: "button", onclick: go }, yes),
      h("button.quiet", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Leave it"),
    ),
  );
}

/** Show a secret, this once. */
export function showSecret(title, words, secret) {
  const said = h("span.hint", { role: "status" });
  const code = h("code", {}, secret);
  const copy = async () => {
    if (await copied(secret)) return (said.textContent = "Copied");
    getSelection().selectAllChildren(code);
    said.textContent = "Marked: press Ctrl+C";
  };
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
