/** The image that the address names, `#image=…`, in a lightbox: a link or a reload opens it again. */
import { one } from "./images.js";
import { createLightbox } from "./lightbox.js";

/**
 * The lightbox of a gallery; `changed` and `dropped` are told what happens to the list.
 * @param {ReturnType<typeof import("./gallery-list.js").createImageList>} list
 * @param {{models: Model[], mayChange: () => boolean, more: () => Promise<void>, focus: (name: string) => void}}
 *   gallery `focus` is called with the name of the image that was shown last
 */
export function createViewer(list, { models, mayChange, more, focus }) {
  /** Whether the browser's Back leads to the grid. */
  let came = false;
  const lightbox = createLightbox({ models, mayChange, step, closed, keep: list.keep, remove: list.remove });

  const inList = (/** @type {string} */ name) => list.images().find((image) => image.name === name);
  /**
   * @param {string} name
   * @param {1 | -1} by
   */
  async function step(name, by) {
    const place = () => list.images().findIndex((image) => image.name === name);
    if (place() + by === list.images().length) await more();
    if (place() >= 0) goTo(list.images()[place() + by]?.name);
  }
  /** @param {string | undefined} name */
  function goTo(name) {
    if (!name) return;
    history.replaceState(history.state, "", `${location.pathname}${location.search}#image=${name}`);
    open();
  }
  async function open() {
    const name = new URLSearchParams(location.hash.slice(1)).get("image");
    if (!name) return lightbox.close();
    try {
      const image = inList(name) ?? (await one(name));
      if (location.hash.endsWith(name)) lightbox.show(image);
    } catch (error) {
      lightbox.refuse(name, /** @type {Refusal} */ (error));
    }
  }
  /** @param {string} name */
  function closed(name) {
    if (location.hash && came) history.back();
    else if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
    came = false;
    focus(name);
  }
  addEventListener("hashchange", () => {
    came ||= !lightbox.isOpen();
    open();
  });
  return {
    open,
    close: lightbox.close,
    /** @param {Api.Image[]} images */
    changed(images) {
      const shown = images.find(({ name }) => name === lightbox.name());
      if (shown && lightbox.isOpen()) lightbox.show(shown);
    },
    /**
     * The next one is shown, or the one before, or none.
     * @param {Set<string>} names
     * @param {Api.Image[]} before
     */
    dropped(names, before) {
      if (!lightbox.isOpen() || !names.has(lightbox.name())) return;
      const place = before.findIndex(({ name }) => name === lightbox.name());
      const next = before.find(({ name }, other) => other > place && !names.has(name)) ?? list.images().at(-1);
      if (place >= 0 && next) goTo(next.name);
      else lightbox.close();
    },
  };
}
