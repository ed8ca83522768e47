/** The question for an API key: asked when one is first needed, or has been refused. */
import { cancelButton, openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { currentKey, keepKey, look, onLoopback } from "./key.js";

/** @type {Promise<boolean> | null} */
let asking = null;

/**
 * Ask for a key until a valid one is given → whether there is one; concurrent calls share one question.
 * @param {string} reason why the key before was refused
 */
export function askKey(reason = "") {
  asking ??= new Promise((/** @type {(given: boolean) => void} */ resolve) => open(reason, resolve)).finally(() => {
    asking = null;
  });
  return asking;
}

/**
 * The button that stands where a key is missing.
 * @param {() => unknown} then what is done once there is one
 */
export const keyButton = (then = () => {}) =>
  h("button.primary", { type: "button", onclick: async () => (await askKey()) && then() }, "Enter key");

/**
 * @param {string} reason
 * @param {(given: boolean) => void} resolve
 */
function open(reason, resolve) {
  const refused = currentKey();
  const error = h("p.error", { id: "key-error", role: "alert" }, reason);
  const input = h("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "SG_…",
    "aria-describedby": "key-error key-help",
  });
  const remember = h("input", { type: "checkbox", checked: onLoopback(), "aria-describedby": "remember-help" });
  const dialog = openDialog(
    "Your API key",
    h(
      "form",
      { method: "dialog", onsubmit: (event) => submit(event, { input, remember, error, dialog }) },
      h(
        "p.hint",
        { id: "key-help" },
        "The server printed one when it was first started, and a link that enters it; ",
        h("code", {}, "tintype keys create"),
        " makes another.",
      ),
      h("label", { for: "key" }, "API key"),
      input,
      error,
      h("label.tick", {}, remember, "Remember on this device"),
      h("p.hint", { id: "remember-help" }, "Otherwise it is forgotten when you close this tab."),
      h(
        "div.row",
        {},
        h("button.primary", { type: "submit" }, "Use this key"),
        cancelButton(() => dialog.close()),
      ),
    ),
  );
  // Given in another tab.
  const followed = () => currentKey() && currentKey() !== refused && dialog.close("given");
  document.addEventListener("tintype:key", followed);
  dialog.addEventListener("close", () => {
    document.removeEventListener("tintype:key", followed);
    resolve(dialog.returnValue === "given");
  });
  input.focus();
}

/**
 * @param {SubmitEvent} event
 * @param {{input: HTMLInputElement, remember: HTMLInputElement, error: HTMLElement, dialog: HTMLDialogElement}} parts
 */
async function submit(event, { input, remember, error, dialog }) {
  event.preventDefault();
  const key = input.value.trim();
  const { problem } = key ? await look(key) : { problem: "Paste the key first." };
  error.textContent = problem;
  input.setAttribute("aria-invalid", String(Boolean(problem)));
  if (problem) return input.focus();
  keepKey(key, remember.checked);
  dialog.close("given");
}
