/**
 * The link that `tintype serve` prints, `…/#key=SG_…`: what stands behind the `#` is never sent to a server. It leaves
 * the address before anything else is done, and the key is kept once the server has taken it.
 *
 * Anybody can write such a link, with a key of their own, to be given what others make: it says whose key it is, and
 * replaces no other account's without a question.
 */
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { currentKey, isRemembered, keepKey, keptKeys, look, onLoopback, ownerName, restoreKeys } from "./key.js";
import { keyButton } from "./key-dialog.js";

const NAME = "key";

/** @type {Promise<unknown>} */
let arriving = Promise.resolve();

/** Ends when the key of the address, if one came in by it, is kept or refused: calls wait for it. */
export const arrived = () => arriving;

/** Take the key of this page's address, now and whenever such a link is opened in this tab. */
export function takeLinks() {
  take();
  addEventListener("hashchange", take);
}

function take() {
  const said = new URLSearchParams(location.hash.slice(1));
  const key = said.get(NAME);
  if (key === null) return;
  said.delete(NAME);
  const rest = String(said) && `#${said}`;
  history.replaceState(history.state, "", location.pathname + location.search + rest);
  arriving = signIn(key.trim());
}

/** @param {string} key */
async function signIn(key) {
  const [{ owner, problem }, former] = await Promise.all([look(key), formerOwner(key)]);
  if (!owner) return greet("alert", `The link's key was not taken. ${problem}`, currentKey() ? null : keyButton(bid));
  const accept = () => {
    const kept = keptKeys();
    keepKey(key, onLoopback());
    const undo = former ? `Back to ${ownerName(former)}` : "Not my key";
    const where = isRemembered() ? "This browser remembers the key." : "The key is forgotten when you close this tab.";
    greet("status", `Signed in as ${ownerName(owner)}. ${where}`, remember(key), back(undo, kept));
  };
  // Calls don't wait for the answer: until then they are made with the key before.
  if (former && !sameAccount(former, owner)) ask(former, owner, accept);
  else accept();
}

/**
 * Whose key there was before; null where there was none that works, or the same.
 * @param {string} key
 */
async function formerOwner(key) {
  const former = currentKey();
  return former && former !== key ? (await look(former)).owner : null;
}

/**
 * @param {Api.Owner} one
 * @param {Api.Owner} other
 */
const sameAccount = (one, other) => Boolean(one.id) && one.id === other.id;

/**
 * Ask whether the key of the link is to replace another account's.
 * @param {Api.Owner} before
 * @param {Api.Owner} after
 * @param {() => void} accept
 */
function ask(before, after, accept) {
  const stay = () => dialog.close();
  const swap = () => {
    dialog.close();
    accept();
  };
  const dialog = openDialog(
    "Use the key of this link?",
    h("p", {}, `You are signed in as ${ownerName(before)}. The link has a key of ${ownerName(after)}.`),
    h("p.hint", {}, "With that key, what you make is seen and paid by its account. Use it only if it is yours."),
    h(
      "div.row",
      {},
      h("button.primary", { type: "button", autofocus: true, onclick: stay }, `Stay ${before.name ?? "as you are"}`),
      h("button", { type: "button", onclick: swap }, `Use the key of ${after.name ?? after.api_key.name}`),
    ),
  );
}

/**
 * Where the key is kept for this tab alone: the button that has it remembered.
 * @param {string} key
 */
function remember(key) {
  if (isRemembered()) return null;
  const act = () => {
    keepKey(key, true);
    bid();
  };
  return h("button.quiet", { type: "button", onclick: act }, "Remember on this device");
}

/**
 * The way back to what was kept before.
 * @param {string} words
 * @param {(string | null)[]} kept
 */
function back(words, kept) {
  const act = () => {
    restoreKeys(kept);
    bid();
  };
  return h("button.quiet", { type: "button", onclick: act }, words);
}

/**
 * Say above the page what came of the link, until it is read.
 * @param {"status" | "alert"} role
 * @param {string} words
 * @param {...Child} buttons
 */
function greet(role, words, ...buttons) {
  bid();
  const close = h("button.quiet", { type: "button", onclick: bid }, "OK");
  const greeting = h("aside.greeting", { "aria-label": "Sign-in" }, h("p", { role }, words), ...buttons, close);
  document.querySelector("main")?.before(greeting);
}

/** Take that away. */
const bid = () => document.querySelector(".greeting")?.remove();
