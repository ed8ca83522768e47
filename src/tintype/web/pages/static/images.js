/** The images of an account: listed, kept, deleted and saved; and why one is gone. How one is shown: image-view.js. */
import { call, get, Refused, read, send } from "./api.js";
import { h } from "./dom.js";
import { currentKey } from "./key.js";
import { local } from "./paths.js";

/** Names that the server takes in one call. */
const BUNCH = 200;

/**
 * A page of the images, newest first; throws Refused. Parts of the query that are empty are left out.
 * @param {ImageQuery} query
 */
export function list(query = {}) {
  const asked = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  return get(`/v2/images?${new URLSearchParams(asked.map(([name, value]) => [name, String(value)]))}`);
}

/**
 * The image whose file has this name; throws Refused, whose message says why where it is gone.
 * @param {string} name
 */
export async function one(name) {
  try {
    return (await list({ name })).images[0];
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    // The server calls it by its file's name, which says nothing to a reader.
    const known = error.message.replace(`Image ${name}`, "This image");
    throw gone(known.endsWith("not found") ? "This account has no such image." : `${known}.`);
  }
}

/**
 * Those images of a request that are still there; throws Refused.
 * @param {string} id
 */
export const ofRequest = async (id) => (await list({ request: id })).images;

/**
 * Keep images for good, or no longer → them as they are then; throws Refused.
 * @param {string[]} names
 * @param {boolean} kept
 */
export async function keep(names, kept) {
  const changed = [];
  for (const some of bunches(names)) changed.push(...(await send("/v2/images/keep", { names: some, kept })).images);
  return changed;
}

/**
 * Delete the files of images, now → the names that are gone; throws Refused.
 * @param {string[]} names
 */
export async function remove(names) {
  const gone = [];
  for (const some of bunches(names)) gone.push(...(await send("/v2/images/delete", { names: some })).deleted);
  return gone;
}

/**
 * Save images as a zip file; as several, where they are more than the server packs at a time; throws Refused.
 * @param {string[]} names
 */
export async function zip(names) {
  const all = bunches(names);
  for (const [place, some] of all.entries()) {
    const headers = { "content-type": "application/json" };
    const answer = await call("/v2/images/zip", { method: "POST", body: JSON.stringify({ names: some }), headers });
    if (!answer.ok) await read(answer);
    save(await answer.blob(), `tintype-images${all.length > 1 ? `-${place + 1}` : ""}.zip`);
  }
}

/**
 * @param {string[]} names
 */
const bunches = (names) =>
  Array.from({ length: Math.ceil(names.length / BUNCH) }, (_, place) =>
    names.slice(place * BUNCH, (place + 1) * BUNCH),
  );

/**
 * Save the file of an image, once it is known to be there; throws Refused, which says why it isn't.
 * @param {ImageFile} image
 */
export async function download(image) {
  // Asked of the server: the browser's cache has files that were deleted since.
  const answer = await call(local(image.url), { method: "HEAD", cache: "no-store" });
  if (answer.status === 404) throw await why(image);
  if (!answer.ok) throw new Refused(answer.status, { error: "The image can't be read at the moment. Try again." });
  h("a", { href: local(image.url), download: fileName(image) }).click();
}

/**
 * Save bytes as a file.
 * @param {Blob} blob
 * @param {string} name the file's
 */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  // The click has begun the download; the address is not needed any more when it has been read.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * What a saved image is called: date, model and seed, as in a zip; the server's name, where those are not known.
 * @param {ImageFile} image
 */
function fileName({ name, model, seed, created_at: at }) {
  if (!model || !at) return name;
  const [stem, suffix] = name.split(".");
  return `${at.slice(0, 10)}-${model}-${seed}-${stem.slice(0, 6)}.${suffix}`;
}

/**
 * Why an image can't be read, as an error: 404 where it is gone for good.
 * @param {ImageFile} image
 */
export async function why({ name }) {
  if (!currentKey()) return gone("This image is no longer on the server.");
  try {
    await one(name);
    return new Refused(0, { error: "The image can't be loaded at the moment." });
  } catch (error) {
    if (!(error instanceof Refused)) return new Refused(0, { error: String(error) });
    return error.status === 404 ? gone(error.message) : error;
  }
}

/** @param {string} words */
const gone = (words) => new Refused(404, { error: words, error_description: "The same seed makes it again." });
