/** Settings out of files: an image that says how it was made gives them back to the form, on its model's page. */
import { call, Refused, read } from "./api.js";
import { cancelButton, openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { loadModels, needed } from "./models.js";
import { at, slugHere } from "./paths.js";
import { latin } from "./shrink.js";

/** What is in a file that says how it was made: in this server's ways of writing it, or in A1111's. */
const MARKS = ["tintype\0", "parameters\0", '"order": {', "Steps: ", "S\0t\0e\0p\0s\0:"];
/** Under which words for the page that is opened are left. */
const HANDED = "tintype-handed";

/**
 * What a file says of its making; null where it says nothing. Only a file that may say something is sent anywhere.
 * @param {Blob} file
 * @param {number} most bytes that can be sent
 */
export async function settingsIn(file, most) {
  if (file.size > most) return null;
  const text = latin(await file.arrayBuffer());
  if (!MARKS.some((mark) => text.includes(mark))) return null;
  const body = new FormData();
  body.append("image", file, "image");
  body.append("model", slugHere());
  try {
    return /** @type {Api.FoundSettings} */ (await read(await call("/read-recipe", { method: "POST", body })));
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

/**
 * Ask what an image is for → `settings`, `input`, or the slug of a model to open with it; empty for nothing.
 * @param {string} shown its address
 * @param {Api.FoundSettings | null} said
 * @param {boolean} takes whether this page's model takes an input image
 * @returns {Promise<string>}
 */
export async function askUse(shown, said, takes) {
  const models = await loadModels();
  const close = (/** @type {string} */ choice) => dialog.close(choice);
  const button = (/** @type {string} */ kind, /** @type {string} */ choice, /** @type {string} */ words) =>
    h(kind, { type: "button", onclick: () => close(choice) }, words);
  const title = said ? "This image says how it was made" : "This model takes no input image";
  const others = takes ? [] : models.filter((one) => one.type === "image-to-image" && !needed(one));
  const dialog = openDialog(
    title,
    h(
      "div.use",
      {},
      h("img", { src: shown, alt: "The image" }),
      said && about(said, models.find(({ slug }) => slug === said.model)?.title ?? said.model),
    ),
    h(
      "div.row",
      {},
      said && button("button.primary", "settings", "Use its settings"),
      takes && button("button", "input", "Use as input"),
    ),
    others.length > 0 &&
      h("p.hint", {}, said ? "Or open a model that takes it as input:" : "Open one that does, with it:"),
    h(
      "div.targets",
      {},
      others.map((one) => button("button", one.slug, one.title)),
    ),
    cancelButton(() => close("")),
  );
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue)));
}

/**
 * @param {Api.FoundSettings} said
 * @param {string} title its model's
 */
function about(said, title) {
  const prompt = String(said.parameters.prompt ?? "");
  const left = leftOut(said);
  return h("div", {}, h("p.hint", {}, title), h("p.said", {}, prompt), left && h("p.hint", {}, left));
}

/**
 * What of a file's settings can't be used, in words.
 * @param {Api.FoundSettings} said
 */
function leftOut({ unknown, images }) {
  const named = unknown.map(({ name, value }) => `${name} ${value}`).join(", ");
  return [named && `Not known here: ${named}.`, images.length && "The image that it was made from isn't in the file."]
    .filter(Boolean)
    .join(" ");
}

/**
 * Use a file's settings, here or on the page of its model.
 * @param {Api.FoundSettings} detail
 */
export const useSettings = (detail) => document.dispatchEvent(new CustomEvent("tintype:settings", { detail }));

/**
 * Have the playground take settings, and say what the page before this one left to be said.
 * @param {Bench} bench
 */
export function acceptSettings(bench) {
  document.addEventListener("tintype:settings", ({ detail }) => {
    const [words, more] = ["The settings are the file's now.", leftOut(detail)];
    if (detail.model !== bench.model.slug) return openModel(detail.model, detail.parameters, `${words} ${more}`.trim());
    bench.write(detail.parameters, words);
    bench.say(more);
  });
  const words = sessionStorage.getItem(HANDED);
  sessionStorage.removeItem(HANDED);
  if (words) bench.say(words);
}

/**
 * Open a model's page with these values in its form.
 * @param {string} slug
 * @param {Values} values
 * @param {string} words said there
 */
export function openModel(slug, values, words) {
  sessionStorage.setItem(HANDED, words);
  const named = Object.entries(values).map(([name, value]) => [name, String(value ?? "")]);
  location.href = `${at(`/models/${slug}`)}#${new URLSearchParams(named)}`;
}
