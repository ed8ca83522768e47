/** Beside an image: its prompt, what can be done with it, and with what it was made. */

import { copied } from "./clipboard.js";
import { showCompare } from "./compare.js";
import { lifeOf } from "./dates.js";
import { fill, h, icon, tool } from "./dom.js";
import { download } from "./images.js";
import { named, needed } from "./models.js";
import { local } from "./paths.js";
import { createError } from "./refusal.js";
import { settingsOf } from "./settings.js";

/** @typedef {{put: (element: HTMLElement) => void, back: () => void}} Stage where two images are compared */

/**
 * @param {HTMLElement} panel
 * @param {Api.Image} image
 * @param {Viewing} viewing
 * @param {Stage} stage
 */
export function drawPanel(panel, image, viewing, stage) {
  const { models } = viewing;
  const model = models.find(({ slug }) => slug === image.model);
  const error = createError();
  const changes = viewing.mayChange();
  const acts = h(
    "div.tools",
    { role: "group", "aria-label": "This image" },
    h(
      "button.primary",
      { type: "button", onclick: error.listener(() => download(image)) },
      icon("download"),
      "Download",
    ),
    changes && keepButton(image, () => error.during(() => viewing.keep([image], !image.kept))),
    changes && tool("trash", "Delete", () => viewing.remove([image]), { id: "delete-image" }),
    image.input_url && tool("compare", "Before and after", () => compare(image, String(image.input_url), stage)),
    model &&
      h("a.tool", { href: `/models/${model.slug}#request=${image.request_id}` }, icon("sliders"), "Use its settings"),
    asInput(image, models),
  );
  const reads = changes ? null : h("p.hint", {}, "This key may only read: it keeps and deletes nothing.");
  fill(panel, promptOf(image.prompt), acts, error.element, reads, settingsOf(image, model));
}

/** @param {string | null} prompt */
export function promptOf(prompt) {
  const copy = h("button.quiet", { type: "button", "aria-label": "Copy the prompt" }, "Copy");
  copy.addEventListener("click", async () => {
    copy.textContent = (await copied(prompt ?? "")) ? "Copied" : "Not allowed by your browser";
  });
  return h("div.lightbox-prompt", {}, h("p", {}, prompt || "(no prompt)"), prompt ? copy : null);
}

/**
 * @param {Api.Image} image
 * @param {() => void} act
 */
function keepButton(image, act) {
  const title = image.kept
    ? "Kept for good: press to let it go at its time"
    : `Now ${lifeOf(image)}: press to keep it for good`;
  return h(
    "button.tool.keep",
    { type: "button", id: "keep-image", "aria-pressed": String(image.kept), title, onclick: act },
    icon("star"),
    image.kept ? "Kept" : "Keep",
  );
}

/**
 * @param {Api.Image} image
 * @param {string} before the address of its input image
 * @param {Stage} stage
 */
function compare(image, before, { put, back }) {
  const input = { url: local(before), name: "the input image", differs: [] };
  put(h("div.pairing", {}, showCompare(local(image.url), [input], back)));
}

/**
 * The models that take it as their input image.
 * @param {Api.Image} image
 * @param {Model[]} models
 */
function asInput(image, models) {
  const links = models
    .map((model) => ({ model, field: named(model, "image")?.name }))
    .filter(({ model, field }) => field && !needed(model))
    .map(({ model, field }) => {
      const values = new URLSearchParams([[String(field), local(image.url)]]);
      return h("li", {}, h("a", { href: `/models/${model.slug}#${values}` }, model.title));
    });
  if (!links.length) return null;
  const name = h("summary.tool", {}, icon("into"), "Use as input");
  return h("details.menu", {}, name, h("p.hint", {}, "Change this image with:"), h("ul", {}, links));
}
