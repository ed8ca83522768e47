/** The shelf: a plate for every press of Generate, the newest first, as a strip of film. */
import { fill, h, icon } from "./dom.js";
import { active, imagesOf, stateOf, titleOf, unfinished } from "./plates.js";
import { brief } from "./progress.js";

/**
 * What the plates' buttons do.
 * @typedef {object} ShelfActs
 * @property {(plate: Plate) => void} open
 * @property {(plate: Plate) => void} cancel
 * @property {(plate: Plate) => void} again
 * @property {(plate: Plate) => void} dismiss
 */

/**
 * A shelf with `element`, `draw(shown)` for all plates, and `update(plate)` for one that goes on.
 * @param {Model} model
 * @param {import("./queue.js").Queue} queue
 * @param {ShelfActs} acts
 */
export function createShelf(model, queue, acts) {
  const list = h("ul.shelf", { "aria-label": "Your requests, newest first" });
  /**
   * By the plate itself, not its id: after a change of key the same request is another object.
   * @type {Map<Plate, ReturnType<typeof createTile>>}
   */
  const tiles = new Map();
  return {
    element: list,
    /** @param {Plate | null} shown the one on the stage */
    draw(shown) {
      const plates = queue.all();
      for (const plate of [...tiles.keys()]) if (!plates.includes(plate)) tiles.delete(plate);
      for (const plate of plates) {
        const tile = tiles.get(plate) ?? createTile(model, plate, queue, acts);
        tiles.set(plate, tile);
        tile.update(plate === shown);
      }
      const elements = plates.flatMap((plate) => tiles.get(plate)?.element ?? []);
      // Not where they stand already: a button would lose the focus.
      if (elements.some((element, place) => list.children[place] !== element) || list.children.length > elements.length)
        fill(list, elements);
      list.hidden = !plates.length;
    },
    /**
     * @param {Plate} plate
     * @param {boolean} isShown
     */
    update: (plate, isShown) => tiles.get(plate)?.update(isShown),
  };
}

/**
 * @param {Model} model
 * @param {Plate} plate
 * @param {import("./queue.js").Queue} queue
 * @param {ShelfActs} acts
 */
function createTile(model, plate, queue, acts) {
  const view = h("div.view");
  const words = h("span.words");
  const bar = h("progress", { max: 1, value: 0, "aria-hidden": "true" });
  const open = h("button.open", { type: "button", onclick: () => acts.open(plate) }, view, bar, words);
  const corner = h("div.corner");
  const element = h("li", {}, open, corner);
  let state = "";
  /** @param {boolean} isShown */
  const update = (isShown) => {
    const now = `${stateOf(plate)} ${made(plate).map(({ gone }) => gone)}`;
    if (now !== state) {
      state = now;
      element.dataset.state = stateOf(plate);
      fill(corner, buttons(plate, acts));
      fill(view, thumbnail(model, plate));
    }
    const { done, said, preview } = progress(plate, queue);
    bar.value = done;
    bar.hidden = !active(plate);
    words.textContent = said || caption(model, plate);
    if (preview) sharpen(view, preview);
    open.setAttribute("aria-label", `Show ${titleOf(model, plate) || "this request"}: ${words.textContent}`);
    open.setAttribute("aria-current", String(isShown));
  };
  return { element, update };
}

/** @param {Plate} plate */
const made = (plate) => plate.runs.flatMap(({ images = [] }) => images);

/**
 * @param {Plate} plate
 * @param {ShelfActs} acts
 */
function buttons(plate, acts) {
  /**
   * @param {Parameters<typeof icon>[0]} name
   * @param {string} words
   * @param {(plate: Plate) => void} act
   */
  const button = (name, words, act) =>
    h("button", { type: "button", title: words, "aria-label": words, onclick: () => act(plate) }, icon(name));
  if (active(plate)) return button("close", "Cancel", acts.cancel);
  if (stateOf(plate) === "done") return null;
  return [button("again", "Try again", acts.again), button("close", "Dismiss", acts.dismiss)];
}

/**
 * @param {Model} model
 * @param {Plate} plate
 */
function thumbnail(model, plate) {
  const first = imagesOf(model, plate).slice(0, 4);
  // One that is gone leaves its place empty: the stage says why.
  const images = first.map(({ file }) => {
    if (file.gone) return icon("camera");
    const image = h("img", { src: file.url, alt: "" });
    image.addEventListener("error", () => image.replaceWith(icon("camera")));
    return image;
  });
  if (images.length) return h("div.images", { "data-count": images.length }, images);
  return icon(plate.varied ? "strip" : "camera");
}

/**
 * How far all its runs are: the share, the words of one that has not ended, and the last preview.
 * @param {Plate} plate
 * @param {import("./queue.js").Queue} queue
 */
function progress(plate, queue) {
  const lives = plate.runs.filter(unfinished).map((run) => queue.live(run));
  const shares = plate.runs.map((run) => (unfinished(run) ? (queue.live(run)?.status.progress ?? 0) : 1));
  const done = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  const ended = plate.runs.length - lives.length;
  const first = lives[0];
  const one = first ? (first.stopping ? "Cancelling …" : brief(first.event, first.status)) : "Sending …";
  const said = lives.length ? (plate.varied ? `${ended} of ${plate.runs.length} done` : one) : "";
  const preview = [...(first?.previews.values() ?? [])].at(0)?.image;
  return { done, said, preview };
}

/**
 * @param {HTMLElement} view
 * @param {string} preview
 */
function sharpen(view, preview) {
  const image = view.querySelector("img");
  if (!image) fill(view, h("img", { src: preview, alt: "" }));
  else if (image.src !== preview) image.src = preview;
}

/**
 * What a plate that has ended says.
 * @param {Model} model
 * @param {Plate} plate
 */
function caption(model, plate) {
  const state = stateOf(plate);
  if (state === "failed") return "Failed";
  if (state === "cancelled") return "Cancelled";
  const made = imagesOf(model, plate);
  if (plate.varied) return `Strip of ${plate.runs.length}`;
  return made.length > 1 ? `${made.length} images` : `seed ${made[0]?.file.seed ?? "?"}`;
}
