/** Two images on top of each other, and a slider between them; what differs is named. */
import { fill, h, tellRatio } from "./dom.js";
import { isLong } from "./plates.js";
import { nameOf } from "./words.js";

/** How many others are offered: the latest. */
const MAX_OFFERED = 24;

/**
 * What an image is compared with.
 * @typedef {object} Other
 * @property {string} url
 * @property {string} name what it is called
 * @property {string[][]} differs of each value that differs: its label, the other image's, this one's
 */

/**
 * Compare an image with others, of which the first is shown.
 * @param {string} url
 * @param {Other[]} others
 * @param {() => void} close
 */
export function showCompare(url, others, close) {
  const stack = h("div.stack");
  const words = h("div.difference", { "aria-live": "polite" });
  const buttons = others.map((other) =>
    h(
      "button",
      { type: "button", title: other.name, "aria-label": `Compare with ${other.name}`, onclick: () => choose(other) },
      h("img", { src: other.url, alt: "" }),
    ),
  );
  const own = h("img", { src: url, alt: "Right: this image" });
  tellRatio(own, stack);
  const choose = (/** @type {Other} */ other) => {
    for (const [place, button] of buttons.entries())
      button.setAttribute("aria-pressed", String(others[place] === other));
    fill(stack, pair(own, other));
    fill(words, inWords(other));
  };
  choose(others[0]);
  return h(
    "div.compare",
    {},
    stack,
    words,
    others.length > 1 ? h("div.offered", { role: "group", "aria-label": "Compare with" }, buttons) : null,
    h("button.quiet", { type: "button", onclick: close }, "Done"),
  );
}

/**
 * What an image can be compared with: the latest others, those that differ first.
 * @param {Model} model
 * @param {MadeImage} image
 * @param {MadeImage[]} others
 */
export function offered(model, image, others) {
  const all = others
    .filter(({ file }) => file.name !== image.file.name)
    .slice(0, MAX_OFFERED)
    .map((other) => otherOf(model, image, other));
  // What was made of the same values looks the same.
  return [...all.filter(({ differs }) => differs.length), ...all.filter(({ differs }) => !differs.length)];
}

/**
 * @param {Model} model
 * @param {MadeImage} image
 * @param {MadeImage} other
 * @returns {Other}
 */
function otherOf(model, image, { file, values }) {
  const differs = model.fields
    .filter(({ name, means }) => means !== "count" && (values[name] ?? "") !== (image.values[name] ?? ""))
    .map(({ name, means }) => [nameOf({ means }), shortly(values[name]), shortly(image.values[name])]);
  const name = differs.map(([what, value]) => `${what.toLowerCase()} ${value}`).join(", ") || `seed ${file.seed} again`;
  return { url: file.url, name, differs };
}

/** @param {Value | undefined} value */
function shortly(value) {
  if (value === null || value === undefined || value === "") return "none";
  const text = isLong(value) ? "one of the form's" : String(value);
  return text.length > 90 ? `${text.slice(0, 88)}…` : text;
}

/** @param {Other} other */
function inWords({ name, differs }) {
  if (!differs.length) return h("p.hint", {}, `Left: ${name}. Right: this one.`);
  return h(
    "table",
    {},
    h(
      "thead",
      {},
      h("tr", {}, h("th", {}, h("span.unseen", {}, "Setting")), h("th", {}, "Left"), h("th", {}, "Right")),
    ),
    h(
      "tbody",
      {},
      differs.map(([what, left, right]) =>
        h("tr", {}, h("th", { scope: "row" }, what), h("td", {}, left), h("td", {}, right)),
      ),
    ),
  );
}

/**
 * @param {HTMLImageElement} right
 * @param {Other} left
 */
function pair(right, left) {
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 50,
    step: 0.5,
    "aria-label": "How much of the left image is shown",
  });
  const over = h("img.over", { src: left.url, alt: `Left: ${left.name}` });
  const frame = h("div.plate.pair", {}, right, over, h("span.edge", { "aria-hidden": "true" }), slider);
  slider.addEventListener("input", () => frame.style.setProperty("--cut", `${slider.value}%`));
  return frame;
}
