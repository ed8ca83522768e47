/** The API key: asked for once, when it is first needed, and kept for this tab only. */
import { cancelButton, openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { at } from "./paths.js";

const STORED = "tintype-key";

export const currentKey = () => sessionStorage.getItem(STORED) ?? "";

/** Whether it is a test key, whose requests are free. */
export const isTest = () => currentKey().startsWith("SG_test");

/** Forget the key; everything that shows what belongs to it listens for `tintype:key`. */
export function forgetKey() {
  sessionStorage.removeItem(STORED);
  announce();
}

const announce = () => document.dispatchEvent(new CustomEvent("tintype:key"));

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
 * @param {string} reason
 * @param {(given: boolean) => void} resolve
 */
function open(reason, resolve) {
  const error = h("p.error", { id: "key-error", role: "alert" }, reason);
  const input = h("input", {
    id: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "SG_…",
    "aria-describedby": "key-error key-help",
  });
  const dialog = openDialog(
    "Your API key",
    h(
      "form",
      { method: "dialog", onsubmit: (event) => submit(event, input, error, dialog) },
      h(
        "p.hint",
        { id: "key-help" },
        "The server printed one when it was first started; ",
        h("code", {}, "tintype keys create"),
        " makes another. It stays in this tab and is forgotten when you close it.",
      ),
      h("label", { for: "key" }, "API key"),
      input,
      error,
      h(
        "div.row",
        {},
        h("button.primary", { type: "submit" }, "Use this key"),
        cancelButton(() => dialog.close()),
      ),
    ),
  );
  dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"));
  input.focus();
}

/**
 * @param {SubmitEvent} event
 * @param {HTMLInputElement} input
 * @param {HTMLElement} error
 * @param {HTMLDialogElement} dialog
 */
async function submit(event, input, error, dialog) {
  event.preventDefault();
  const key = input.value.trim();
  const problem = key ? await refused(key) : "Paste the key first.";
  error.textContent = problem;
  input.setAttribute("aria-invalid", String(Boolean(problem)));
  if (problem) return input.focus();
  sessionStorage.setItem(STORED, key);
  announce();
  dialog.close("given");
}

/**
 * Why the server does not take this key; empty when it does.
 * @param {string} key
 */
async function refused(key) {
  if (!/^[\x21-\x7e]+$/.test(key)) return "A key has only letters, digits and underscores.";
  try {
    const answer = await fetch(at("/api/auth/authenticate"), { headers: { "x-api-key": key } });
    return answer.ok ? "" : (await answer.json()).error;
  } catch {
    return "The server does not answer.";
  }
}
