/** The page of all images of an account: a grid with filters, a selection, and one image at a time. */
import { get } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { createFilters, filtersOfAddress, isFiltered } from "./gallery-filters.js";
import { createGrid } from "./gallery-grid.js";
import { createImageList } from "./gallery-list.js";
import { createPages, trouble } from "./gallery-pages.js";
import { createSelection } from "./gallery-selection.js";
import { createViewer } from "./gallery-viewer.js";
import { drawHeader, main, showFailure } from "./header.js";
import { loadModels } from "./models.js";
import { duration } from "./words.js";

/** Milliseconds without scrolling after which the reader's place is noted. */
const NOTED = 200;

async function start() {
  drawHeader();
  const [models, about] = await Promise.all([loadModels(), get("/about.json")]);
  const gallery = createGallery(models);
  const select = h("button", { type: "button", onclick: gallery.select }, icon("select"), "Select");
  let turn = 0;
  /** Everything that was made with this key, and nothing of the key before. */
  const begin = async (/** @type {Place} */ place = {}) => {
    turn += 1;
    const own = turn;
    gallery.clear();
    try {
      const { api_key: key } = await get("/api/auth/authenticate");
      if (own !== turn) return;
      if (key.operator && key.read_only)
        throw new Error("This key sees the server, on the page Operator, and nothing of an account.");
      fill(main, h("div.head-row.gallery-head", {}, title(about), select), ...gallery.elements);
      await gallery.show(!key.read_only, place);
    } catch (error) {
      if (own === turn) fill(main, title(about), trouble(/** @type {Refusal} */ (error), begin));
    }
  };
  document.addEventListener("tintype:key", () => begin());
  // Where the reader was is noted in the address's own entry of the browser's history.
  const place = history.state ?? {};
  history.scrollRestoration = "manual";
  let waits = 0;
  const note = () => history.replaceState({ count: gallery.count(), y: scrollY }, "");
  addEventListener("scroll", () => {
    clearTimeout(waits);
    waits = setTimeout(note, NOTED);
  });
  addEventListener("hashchange", note);
  document.addEventListener("visibilitychange", () => document.hidden || gallery.refresh());
  await begin(place);
}

/** @typedef {{count?: number, y?: number}} Place how many images are loaded, and how far it is scrolled */

/**
 * The parts of the page, joined.
 * @param {Model[]} models
 */
function createGallery(models) {
  let mayChange = false;
  const grid = createGrid((name, range) => selection.toggle(name, range));
  const list = createImageList({
    added: grid.add,
    changed(images) {
      grid.put(images);
      selection.draw();
      viewer.changed(images);
    },
    dropped(names, before) {
      grid.drop(names);
      selection.draw();
      pages.draw();
      viewer.dropped(names, before);
    },
  });
  const selection = createSelection(list, grid.mark);
  const pages = createPages(list, () =>
    isFiltered(filtersOfAddress()) ? nothingFound(filters.clear) : nothingYet(models),
  );
  const viewer = createViewer(list, { models, mayChange: () => mayChange, more: pages.more, focus: grid.focus });
  const show = (/** @type {number} */ count = 1) => {
    grid.clear();
    selection.end();
    return pages.show(filtersOfAddress(), count);
  };
  const filters = createFilters(models, () => show());
  document.addEventListener("keydown", ({ key, target }) => {
    const typing = target instanceof Element && target.closest("form");
    if (typing || document.querySelector("dialog[open]")) return;
    if (key === "Escape") selection.end();
    if (key === "Delete") selection.remove();
  });
  return {
    elements: [filters.element, grid.element, pages.element, selection.element],
    count: () => list.images().length,
    select: selection.begin,
    /** What was made elsewhere meanwhile is shown, where nobody is in the midst of something. */
    async refresh() {
      if (scrollY > 0 || selection.isOn() || document.querySelector("dialog[open]")) return;
      if (await list.isOld().catch(() => false)) await show();
    },
    /** Show nothing any more. */
    clear() {
      viewer.close();
      list.reset({});
      grid.clear();
      selection.end();
    },
    /**
     * Show what the address says.
     * @param {boolean} changes whether this key may keep and delete
     * @param {Place} place
     */
    async show(changes, { count, y = 0 }) {
      mayChange = changes;
      selection.allow(changes);
      await show(count);
      scrollTo(0, y);
      await viewer.open();
    },
  };
}

/** @param {Api.About} about */
function title({ kept_seconds: { images: life } }) {
  const words = life
    ? `Everything made with this account. Images are kept for ${duration(life)}, those with a star for good.`
    : "Everything made with this account. Images are kept until you delete them.";
  return h("div.title", {}, h("h1", {}, "Images"), h("p.lead", {}, words));
}

/** @param {() => void} clear */
const nothingFound = (clear) =>
  h(
    "div.gallery-empty",
    {},
    h("p", {}, "No image is like that."),
    h("button", { type: "button", onclick: clear }, "Show all images"),
  );

/** @param {Model[]} models */
const nothingYet = (models) =>
  h(
    "div.gallery-empty",
    {},
    h("h2", {}, "No images yet"),
    h("p", {}, "Choose a model, say what you want to see, and press Generate: what is made appears here, too."),
    h(
      "ul.row",
      {},
      models.map(({ slug, title }) => h("li", {}, h("a.tool", { href: `/models/${slug}` }, title))),
    ),
  );

start().catch(showFailure);
