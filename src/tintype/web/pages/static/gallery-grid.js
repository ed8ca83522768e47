/** A grid of images by days: every one is a link that keeps its place, and shows its image while it is near. */
import { dayName, timeOf } from "./dates.js";
import { fill, h, icon } from "./dom.js";
import { neighbour } from "./gallery-arrows.js";
import { shown } from "./image-view.js";

/** Pixels above and below the screen within which images are in the page. */
const NEAR = 1500;

/**
 * The grid: its `element`, and what is done with it.
 * @param {(name: string, range: boolean) => void} choose a tile is chosen, or with it all from the last one on
 */
export function createGrid(choose) {
  const element = h("div.gallery");
  /**
   * By the images' names, in the order of the page.
   * @type {Map<string, ReturnType<typeof createTile>>}
   */
  const tiles = new Map();
  const near = new IntersectionObserver(
    (seen) => {
      for (const { target, isIntersecting } of seen) tileOf(target)?.show(isIntersecting);
    },
    { rootMargin: `${NEAR}px 0px` },
  );
  /** @param {EventTarget | null} target */
  const tileOf = (target) => {
    const item = target instanceof Element ? target.closest("li") : null;
    return item ? tiles.get(item.dataset.name ?? "") : undefined;
  };
  /** The one tile that Tab leads to. */
  let current = "";
  let selecting = false;
  /** @param {string} name */
  const lead = (name) => {
    tiles.get(current)?.reach(false, selecting);
    current = name;
    tiles.get(current)?.reach(true, selecting);
  };
  element.addEventListener("focusin", ({ target }) => lead(tileOf(target)?.name ?? current));
  element.addEventListener("click", (event) => {
    const tile = tileOf(event.target);
    if (!tile || !(selecting || event.target instanceof HTMLInputElement)) return;
    // A box is checked by what is selected, and by nothing else.
    if (!(event.target instanceof HTMLInputElement)) event.preventDefault();
    choose(tile.name, event.shiftKey);
  });
  element.addEventListener("keydown", (event) => {
    const tile = tileOf(event.target);
    const to = tile && neighbour([...tiles.values()], tile, event.key);
    // A box is pressed by it anyway.
    if (event.key === " " && tile && !(event.target instanceof HTMLInputElement)) {
      event.preventDefault();
      choose(tile.name, event.shiftKey);
    }
    if (!to) return;
    event.preventDefault();
    focus(to.name);
    if (selecting && event.shiftKey) choose(to.name, true);
  });
  /** @param {string} name */
  const focus = (name) => {
    lead(name);
    tiles.get(name)?.focus(selecting);
  };
  return {
    element,
    focus,
    /** @param {Api.Image[]} images older than all that are there */
    add(images) {
      for (const image of images) {
        const tile = createTile(image);
        tiles.set(image.name, tile);
        placeOf(element, image).append(tile.element);
        near.observe(tile.element);
        tile.reach(false, selecting);
      }
      if (!tiles.has(current)) lead(images[0]?.name ?? "");
    },
    /** @param {Api.Image[]} images as they are now */
    put(images) {
      for (const image of images) tiles.get(image.name)?.put(image);
    },
    /** @param {Set<string>} names */
    drop(names) {
      const order = [...tiles.keys()];
      const stay = (/** @type {string} */ name) => !names.has(name);
      const next = order.slice(order.indexOf(current)).find(stay) ?? order.findLast(stay);
      for (const name of names) {
        const tile = tiles.get(name);
        const day = tile?.element.closest("section");
        tile?.element.remove();
        if (tile) near.unobserve(tile.element);
        tiles.delete(name);
        if (day && !day.querySelector("li")) day.remove();
      }
      lead(next ?? "");
    },
    clear() {
      near.disconnect();
      tiles.clear();
      fill(element);
    },
    /** @param {Set<string> | null} selected null: nothing is being selected */
    mark(selected) {
      if (selecting !== Boolean(selected)) {
        selecting = Boolean(selected);
        element.toggleAttribute("data-selecting", selecting);
        for (const tile of tiles.values()) tile.reach(tile.name === current, selecting);
      }
      for (const tile of tiles.values()) tile.check(selected?.has(tile.name) ?? false);
    },
  };
}

/**
 * The list of an image's day, which is made where it isn't there.
 * @param {HTMLElement} grid
 * @param {Api.Image} image
 */
function placeOf(grid, { created_at: at }) {
  const day = new Date(at).toDateString();
  const last = grid.lastElementChild;
  if (last instanceof HTMLElement && last.dataset.day === day) return /** @type {Element} */ (last.lastElementChild);
  const list = h("ul.tiles");
  grid.append(h("section", { "data-day": day }, h("h2", {}, dayName(at)), list));
  return list;
}

/** @param {Api.Image} image */
function createTile(image) {
  const name = describe(image);
  const link = h("a", { href: `#image=${image.name}`, "aria-label": name });
  const box = h("input", { type: "checkbox", "aria-label": `Select ${name}` });
  const star = h("span.star", { title: "Kept for good", hidden: !image.kept }, icon("star"));
  const element = h("li", { "data-name": image.name }, link, box, star);
  return {
    element,
    name: image.name,
    /** @param {boolean} near */
    show: (near) => {
      if (near !== Boolean(link.firstChild)) fill(link, near && shown(image, "", { brief: true }));
    },
    /** @param {Api.Image} now */
    put(now) {
      star.hidden = !now.kept;
    },
    /** @param {boolean} checked */
    check(checked) {
      box.checked = checked;
      element.toggleAttribute("data-selected", checked);
    },
    /**
     * @param {boolean} leads whether Tab leads here
     * @param {boolean} selecting
     */
    reach(leads, selecting) {
      link.tabIndex = leads && !selecting ? 0 : -1;
      box.tabIndex = leads && selecting ? 0 : -1;
    },
    /** @param {boolean} selecting */
    focus: (selecting) => (selecting ? box : link).focus(),
  };
}

/** @param {Api.Image} image */
const describe = ({ prompt, seed, created_at: at }) => `${prompt || "No prompt"}, seed ${seed}, ${timeOf(at)}`;
