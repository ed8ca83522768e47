/** The API key: kept for this tab, or by this browser where its owner wants that. */
import { at } from "./paths.js";

const STORED = "tintype-key";

export const currentKey = () => sessionStorage.getItem(STORED) ?? localStorage.getItem(STORED) ?? "";

/** Whether it is a test key, whose requests are free. */
export const isTest = () => currentKey().startsWith("SG_test");

/** Whether this browser keeps the key, so that other tabs, and tomorrow's, have it too. */
export const isRemembered = () => !sessionStorage.getItem(STORED) && Boolean(localStorage.getItem(STORED));

/** Whether the server is on the reader's own machine, where remembering is what people expect. */
export const onLoopback = () => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(location.hostname);

/**
 * Keep a key that the server takes; everything that shows what belongs to it listens for `tintype:key`.
 * @param {string} key
 * @param {boolean} remember whether other tabs are to have it, and this one when it is opened again
 */
export function keepKey(key, remember) {
  if (remember) localStorage.setItem(STORED, key);
  if (remember) sessionStorage.removeItem(STORED);
  else sessionStorage.setItem(STORED, key);
  announce();
}

/** Forget the key, here and where it is remembered. */
export const forgetKey = () => restoreKeys([null, null]);

/**
 * What this tab and this browser keep, to be restored.
 * @returns {(string | null)[]}
 */
export const keptKeys = () => [sessionStorage.getItem(STORED), localStorage.getItem(STORED)];

/** @param {(string | null)[]} kept */
export function restoreKeys(kept) {
  for (const [place, store] of [sessionStorage, localStorage].entries()) {
    const key = kept[place];
    if (key === null) store.removeItem(STORED);
    else store.setItem(STORED, key);
  }
  announce();
}

/** Have this tab follow what others do to the remembered key, unless it has one of its own. */
export const followTabs = () =>
  addEventListener("storage", ({ key, storageArea }) => {
    const remembered = storageArea === localStorage && (key === STORED || key === null);
    if (remembered && !sessionStorage.getItem(STORED)) announce();
  });

const announce = () => document.dispatchEvent(new CustomEvent("tintype:key"));

/**
 * Whose key it is, or why the server does not take it; it is asked, and nothing is kept.
 * @param {string} key
 * @returns {Promise<{owner: Api.Owner, problem: ""} | {owner: null, problem: string}>}
 */
export async function look(key) {
  if (!/^[\x21-\x7e]+$/.test(key)) return { owner: null, problem: "A key has only letters, digits and underscores." };
  try {
    const answer = await fetch(at("/api/auth/authenticate"), { headers: { "x-api-key": key } });
    const told = await answer.json();
    return answer.ok ? { owner: told, problem: "" } : { owner: null, problem: `${told.error}.` };
  } catch {
    return { owner: null, problem: "The server does not answer." };
  }
}

/**
 * `first (SG_0123abc…)`; of a key that sees the server alone, its own name.
 * @param {Api.Owner} owner
 */
export const ownerName = ({ name, api_key: key }) => `${name ?? key.name} (${key.hint}…)`;
