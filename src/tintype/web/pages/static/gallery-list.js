/** The images of an account as far as they are loaded, in the server's order, newest first; and what changes them. */
import { askToDelete } from "./deletion.js";
import { keep, list, remove } from "./images.js";

/** Images of a page; and of one where many are loaded again: all that the server gives. */
const [PAGE, LARGE] = [60, 200];

/**
 * A list of images that grows, and says what happens to it.
 * @param {{
 *   added: (images: Api.Image[]) => void,
 *   changed: (images: Api.Image[]) => void,
 *   dropped: (names: Set<string>, before: Api.Image[]) => void,
 * }} tell `added`: behind the others; `dropped` also says what was there before
 */
export function createImageList(tell) {
  /** @type {Api.Image[]} */
  let images = [];
  /** @type {ImageQuery} */
  let query = {};
  /**
   * Where the next page begins; null where there is none.
   * @type {string | null}
   */
  let cursor = "";
  /** @type {Promise<void> | null} */
  let loading = null;
  /** Counts resets: an answer to a query of before, or to another key, is dropped. */
  let turn = 0;

  /** @param {number} wanted */
  const load = async (wanted) => {
    const asked = turn;
    const page = await list({ ...query, limit: wanted > PAGE ? LARGE : PAGE, cursor: cursor ?? "" });
    if (asked !== turn) return;
    images = [...images, ...page.images];
    cursor = page.next_cursor;
    tell.added(page.images);
  };
  return {
    images: () => images,
    /** Whether the server has newer ones; throws Refused. */
    isOld: async () => {
      const asked = turn;
      const [newest] = (await list({ ...query, limit: 1 })).images;
      return asked === turn && cursor !== "" && newest?.name !== images[0]?.name;
    },
    /** Whether all are loaded. */
    whole: () => cursor === null,
    /**
     * Begin anew, with nothing loaded.
     * @param {ImageQuery} wanted
     */
    reset(wanted) {
      turn += 1;
      [query, images, cursor, loading] = [wanted, [], "", null];
    },
    /**
     * Load one more page; calls at the same time share it. Throws Refused.
     * @param {number} wanted images that are needed, if there are so many
     */
    more(wanted = 1) {
      if (cursor === null) return Promise.resolve();
      const asked = turn;
      loading ??= load(wanted).finally(() => {
        if (asked === turn) loading = null;
      });
      return loading;
    },
    /**
     * Keep images for good, or no longer; throws Refused.
     * @param {Api.Image[]} some
     * @param {boolean} kept
     */
    async keep(some, kept) {
      const asked = turn;
      const changed = await keep(some.map(nameOf), kept);
      if (asked !== turn) return;
      const byName = new Map(changed.map((image) => [image.name, image]));
      images = images.map((image) => byName.get(image.name) ?? image);
      tell.changed(changed);
    },
    /**
     * Delete images, once the reader has said yes.
     * @param {Api.Image[]} some
     */
    remove(some) {
      askToDelete(some, async () => {
        const asked = turn;
        const names = new Set(await remove(some.map(nameOf)));
        if (asked !== turn) return;
        const before = images;
        images = images.filter(({ name }) => !names.has(name));
        tell.dropped(names, before);
      });
    },
  };
}

/** @param {Api.Image} image */
const nameOf = ({ name }) => name;
