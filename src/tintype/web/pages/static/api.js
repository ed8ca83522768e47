/** Calls to this server; a key is asked for when the server wants one. */
import { currentKey } from "./key.js";
import { askKey } from "./key-dialog.js";
import { at } from "./paths.js";
import { arrived } from "./sign-in.js";

const TOO_MANY = 429;

/** An answer that is none of the good ones: what the server says, and what to do next. */
export class Refused extends Error {
  /**
   * @param {number} status 0 where the server does not answer
   * @param {{error?: string, error_description?: string}} body
   * @param {number} retryAfter seconds after which the same can be asked again; 0 where the server names none
   */
  constructor(status, body, retryAfter = 0) {
    super(body.error ?? `The server answered ${status}.`);
    this.status = status;
    this.retryAfter = retryAfter;
    // People see no headers: the seconds stand on the button.
    this.advice = status === TOO_MANY ? "Nothing was charged." : (body.error_description ?? "");
  }
}

/**
 * Call a path of the server → the response, also where the server refuses; throws Refused only where no key was given,
 * or where the server does not answer.
 * @param {string} path
 * @param {Partial<Sending>} options
 * @param {(path: string, options: Sending) => Promise<Response>} reach
 */
export async function call(path, options = {}, reach = fetched) {
  for (;;) {
    await arrived();
    const key = currentKey();
    const answer = await reach(path, { ...options, headers: { ...options.headers, ...(key && { "x-api-key": key }) } });
    const left = answer.headers.get("x-remaining-credits");
    if (left !== null) document.dispatchEvent(new CustomEvent("tintype:credits", { detail: left }));
    if (answer.status !== 401) return answer;
    const body = await answer.json();
    if (!(await askKey(key ? body.error : ""))) throw new Refused(401, { error: "This needs an API key." });
  }
}

/**
 * @param {string} path
 * @param {RequestInit} options
 */
async function fetched(path, options) {
  try {
    return await fetch(at(path), options);
  } catch {
    throw new Refused(0, { error: "The server does not answer.", error_description: "Is it still running?" });
  }
}

/**
 * The JSON at a path of the server; throws Refused.
 * @template {string} Path
 * @param {Path} path
 */
export async function get(path) {
  return /** @type {Answer<Path>} */ (await read(await call(path)));
}

/**
 * Send JSON, or another method without a body → the JSON of the answer; throws Refused.
 * @template {string} Path
 * @param {Path} path
 * @param {object} [body]
 */
export async function send(path, body, method = "POST") {
  const content = body && { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  return /** @type {Changed<Path>} */ (await read(await call(path, { method, ...content })));
}

/**
 * The pause between two polls.
 * @param {number} milliseconds
 */
export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * The JSON of an answer; throws Refused for one that is none of the good ones.
 * @param {Response} answer
 * @returns {Promise<unknown>}
 */
export async function read(answer) {
  if (answer.ok) return answer.json();
  // A proxy before the server may refuse in HTML.
  const retryAfter = Number(answer.headers.get("retry-after")) || 0;
  throw new Refused(answer.status, await answer.json().catch(() => ({})), retryAfter);
}
