/**
 * What this device remembers of an account's work: the form of each model, and the plates of the shelf.
 *
 * Each is an entry of its own, so that tabs don't overwrite each other's; its name begins with the key's digest, so
 * that another account's key finds none of them. "Forget key" removes them.
 */
import { active } from "./plates.js";

const MARK = "tintype-work-";
/** Entries of another version are removed, not read. */
const OWN = `${MARK}1:`;
/** How many are remembered on this device, of all keys together: the last ones. */
const MAX = { form: 30, plate: 60 };
const KINDS = /** @type {const} */ (["form", "plate"]);
const DAY = 86_400_000;

/**
 * How the entries of a key begin; 64 bits of its digest (FNV-1a), of which no key follows.
 * @param {string} key
 */
function beginning(key) {
  let hash = 0xcbf29ce484222325n;
  for (const letter of key) hash = BigInt.asUintN(64, (hash ^ BigInt(letter.codePointAt(0) ?? 0)) * 0x100000001b3n);
  return `${OWN}${hash.toString(36)}:`;
}

/** @param {string} start */
const names = (start) => Object.keys(localStorage).filter((name) => name.startsWith(start));

/**
 * What is remembered under this name; null, and then nothing any more, where it can't be read.
 * @param {string} name
 */
function entry(name) {
  try {
    const value = JSON.parse(localStorage.getItem(name) ?? "");
    if (name.includes(":form:") ? value.values : value.runs.length) return value;
  } catch {
    // Damaged: a page that stops at it would never be drawn again.
  }
  localStorage.removeItem(name);
  return null;
}

/**
 * Remove all that is remembered of the work with some keys.
 * @param {(string | null)[]} keys
 */
export function forgetWork(keys) {
  for (const key of keys) if (key) for (const name of names(beginning(key))) localStorage.removeItem(name);
}

/**
 * The workspace of one model.
 * @param {string} slug
 * @param {string} key the API key; empty where there is none
 */
export function createWorkspace(slug, key) {
  for (const name of names(MARK)) if (!name.startsWith(OWN)) localStorage.removeItem(name);
  let start = beginning(key);
  const nameOf = (/** @type {string} */ id) => `${start}plate:${id}`;
  return {
    /** @returns {Values} */
    form: () => entry(`${start}form:${slug}`)?.values ?? {},
    /** @param {Values} values */
    saveForm: (values) => write(`${start}form:${slug}`, { at: Date.now(), values }),
    /** The model's plates. */
    plates: () => plates(`${start}plate:`).filter((plate) => plate.slug === slug),
    /** @param {Plate} plate a new one */
    add: (plate) => write(nameOf(plate.id), plate),
    /** @param {Plate} plate stays forgotten where another tab has dropped it */
    save: (plate) => localStorage.getItem(nameOf(plate.id)) && write(nameOf(plate.id), plate),
    /** @param {string} id */
    drop: (id) => localStorage.removeItem(nameOf(id)),
    /**
     * Be told when another tab has changed the shelf.
     * @param {() => void} changed
     */
    listen: (changed) =>
      addEventListener("storage", ({ key: name }) => {
        if (name === null || name.startsWith(`${start}plate:`)) changed();
      }),
    /**
     * Be the workspace of another key; what was made before there was a key is that one's then.
     * @param {string} other
     */
    move(other) {
      const before = start === beginning("") ? names(start) : [];
      const next = beginning(other);
      for (const name of next === start ? [] : before) {
        const text = localStorage.getItem(name) ?? "";
        localStorage.removeItem(name); // first: a full browser has no room for both
        stored(next + name.slice(start.length), text);
      }
      start = next;
    },
  };
}

/**
 * @param {string} start
 * @returns {Plate[]}
 */
const plates = (start) => names(start).map(entry).filter(Boolean);

/**
 * Remember something; where the browser has no room, without the oldest of the others, or not at all.
 * @param {string} name
 * @param {Plate | {at: number, values: Values}} value
 */
function write(name, value) {
  const text = JSON.stringify(value);
  while (!stored(name, text)) {
    const oldest = disposable("plate").at(-1) ?? disposable("form").at(-1);
    if (!oldest || oldest === name) return;
    localStorage.removeItem(oldest);
  }
  for (const kind of KINDS) for (const old of disposable(kind).slice(MAX[kind])) localStorage.removeItem(old);
}

/**
 * @param {string} name
 * @param {string} text
 */
function stored(name, text) {
  try {
    localStorage.setItem(name, text);
    return true;
  } catch {
    return false; // the browser's limit, some megabytes
  }
}

/**
 * The entries of a kind, the oldest last, without what is running.
 * @param {keyof typeof MAX} kind
 */
const disposable = (kind) =>
  names(OWN)
    .filter((name) => name.includes(`:${kind}:`))
    .map((name) => ({ name, value: entry(name) }))
    .filter(({ value }) => value && !(kind === "plate" && active(value) && Date.now() - value.at < DAY))
    .sort((one, other) => other.value.at - one.value.at)
    .map(({ name }) => name);
