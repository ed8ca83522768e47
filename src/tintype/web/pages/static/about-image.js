/** What is known of a finished image, how long it stays, and what can be done with it. */
import { lifeOf } from "./dates.js";
import { askToDelete } from "./deletion.js";
import { fill, h, icon, tool } from "./dom.js";
import { download, keep, remove, zip } from "./images.js";
import { nameFor } from "./models.js";
import { createError } from "./refusal.js";
import { listed, metricRows, terms, valueRows } from "./settings.js";

/**
 * The part below the images: its `element`, and `update(words)` once the server has told of them, or why it can't.
 * @param {Model} model
 * @param {MadeImage[]} made
 * @param {number} place of the image that is meant
 * @param {boolean} gone
 * @param {ImageActs & {reload: () => Promise<void>}} acts
 */
export function createAbout(model, made, place, gone, acts) {
  const image = made[place];
  const stays = createStays(image, made, acts);
  const known = h("dl.facts");
  /** @param {string} [words] */
  const update = (words) => {
    stays.update(words);
    fill(known, facts(image, made.length, place));
  };
  // Unknown until the server has told of it.
  update(image.file.kept_until === undefined ? "" : undefined);
  const element = h(
    "div.about-image",
    { role: "group", "aria-label": made.length > 1 ? `Image ${place + 1} of ${made.length}` : "This image" },
    gone ? null : stays.element,
    known,
    h("div.tools", {}, gone ? again(image, acts) : tools(image, acts)),
    settings(model, image, acts),
  );
  return { element, update };
}

/**
 * @param {MadeImage} image
 * @param {number} count
 * @param {number} place
 */
function facts({ file, run: { metrics } }, count, place) {
  /** @type {[string, Child][]} */
  const rows = [
    ["Image", count > 1 && `${place + 1} of ${count}`],
    ["Seed", file.seed],
    ["Size", file.width && `${file.width} × ${file.height}`],
    ...(metrics ? metricRows(metrics, count) : []),
  ];
  return terms(rows.filter(([, value]) => value));
}

/**
 * Download, how long it stays, Keep, Delete, and a link.
 * @param {MadeImage} image
 * @param {MadeImage[]} made
 * @param {ImageActs & {reload: () => Promise<void>}} acts
 */
function createStays(image, made, { reload, link }) {
  const { file } = image;
  const error = createError();
  const life = h("span.life.hint", { role: "status" });
  const star = h("button.tool.keep", { type: "button" }, icon("star"), h("span", {}, "Keep"));
  star.addEventListener(
    "click",
    error.listener(async () => {
      await keep([file.name], !file.kept);
      await reload();
    }),
  );
  const deleting = async () => {
    await remove([file.name]);
    await reload();
  };
  const element = h(
    "div.tools",
    {},
    h(
      "button.tool.primary",
      { type: "button", onclick: error.listener(() => download(file)) },
      icon("download"),
      "Download",
    ),
    made.length > 1 &&
      tool(
        "download",
        `All ${made.length}`,
        error.listener(() => zip(made.map((one) => one.file.name))),
      ),
    star,
    tool("link", "Copy link", () => link(image)),
    tool("trash", "Delete", () => askToDelete([file], deleting)),
    life,
    error.element,
  );
  /** @param {string} [words] */
  const update = (words) => {
    life.textContent = words ?? lifeOf({ kept_until: file.kept_until ?? null });
    star.setAttribute("aria-pressed", String(Boolean(file.kept)));
  };
  return { element, update };
}

/**
 * @param {MadeImage} image
 * @param {ImageActs} acts
 */
const again = (image, acts) => tool("again", "Make it again, with the same seed", () => acts.again(image));

/**
 * @param {MadeImage} image
 * @param {ImageActs} acts
 */
function tools(image, acts) {
  const { input } = acts;
  const before = acts.before(image);
  return [
    tool("pin", "Same seed", () => acts.same(image)),
    tool("dice", "Vary seed", () => acts.vary(image)),
    input && tool("into", "Use as input", () => input(image)),
    before && tool("compare", "Before and after", before),
    tool("compare", "Compare", () => acts.compare(image)),
  ];
}

/**
 * All settings of an image, folded.
 * @param {Model} model
 * @param {MadeImage} image
 * @param {ImageActs} acts
 */
function settings(model, image, acts) {
  const prompt = image.values[nameFor(model, "prompt")];
  return h(
    "details.all-settings",
    {},
    h("summary", {}, "All settings"),
    listed([["Model", model.title], ["Prompt", String(prompt ?? "")], ...valueRows(image.values, model)]),
    tool("sliders", "Use its settings", () => acts.settings(image)),
  );
}
