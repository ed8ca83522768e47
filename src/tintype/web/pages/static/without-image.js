/** Images that come onto the page of a model that takes none: for their settings, or to open another model with. */
import { get } from "./api.js";
import { listen } from "./intake.js";
import { loadModels, named } from "./models.js";
import { at } from "./paths.js";
import { askUse, openModel, settingsIn, useSettings } from "./recipe.js";
import { fit } from "./shrink.js";
import { upload } from "./upload.js";

/**
 * Take images wherever they are dropped, or pasted.
 * @param {Bench} bench
 */
export function welcomeImages(bench) {
  const say = (/** @type {string} */ words) => bench.say(words);
  listen("Drop to use its settings", (found) => welcome(found, say).catch(({ message }) => say(message)), say);
}

/**
 * @param {Found} found
 * @param {(words: string) => void} say
 */
async function welcome(found, say) {
  const { inputs: limits } = await get("/about.json");
  const file = "file" in found ? found.file : "path" in found ? await (await fetch(at(found.path))).blob() : null;
  const url = file && URL.createObjectURL(file);
  try {
    // Before anything is asked: it may be no image.
    const ready = file && "file" in found ? await fit(file, url ?? "", limits) : null;
    const said = file && (await settingsIn(file, limits.max_bytes));
    const choice = await askUse(url ?? "/static/icon.svg", said, false);
    if (choice === "settings" && said) return useSettings(said);
    if (!choice) return;
    if (ready) say("Uploading …");
    const address = ready ? await upload(ready.blob) : "path" in found ? found.path : "link" in found ? found.link : "";
    const model = (await loadModels()).find(({ slug }) => slug === choice);
    const field = model && named(model, "image");
    if (field) openModel(choice, { [field.name]: address }, ready?.words ?? "");
  } finally {
    if (url) URL.revokeObjectURL(url);
  }
}
