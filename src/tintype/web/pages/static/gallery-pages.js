/** The gallery's end, where the next images come from: by scrolling, or by a button; or what is wrong. */
import { fill, h } from "./dom.js";
import { currentKey } from "./key.js";
import { keyButton } from "./key-dialog.js";
import { inLines } from "./refusal.js";

/** Pixels below the screen at which the next page is asked for. */
const AHEAD = 1200;

/**
 * The list's end as `element`; `show(query)` begins anew, `more()` loads a page.
 * @param {ReturnType<typeof import("./gallery-list.js").createImageList>} list
 * @param {() => Child} nothing what is said where there are none
 */
export function createPages(list, nothing) {
  const element = h("div.gallery-end", { "aria-live": "polite" });
  /** @type {ImageQuery} */
  let query = {};
  const watcher = new IntersectionObserver(
    ([{ isIntersecting }]) => isIntersecting && element.querySelector(".more") && more(),
    { rootMargin: `${AHEAD}px 0px` },
  );
  const more = async (wanted = 1) => {
    const asked = query;
    try {
      fill(element, h("p.hint", {}, "Loading …"));
      await list.more(wanted);
      if (asked === query) draw();
    } catch (error) {
      if (asked === query)
        fill(
          element,
          trouble(/** @type {Refusal} */ (error), () => more()),
        );
    }
  };
  const draw = () => {
    const count = list.images().length;
    if (!list.whole()) fill(element, h("button.more", { type: "button", onclick: () => more() }, "Load more"));
    else if (count)
      fill(element, h("p.hint", {}, count === 1 ? "That is all: 1 image." : `That is all: ${count} images.`));
    else fill(element, nothing());
    // It tells again whether the end is near: a page may be shorter than the screen.
    watcher.unobserve(element);
    watcher.observe(element);
  };
  return {
    element,
    more,
    draw,
    /**
     * @param {ImageQuery} wanted
     * @param {number} count images that are to be there, if there are so many
     */
    async show(wanted, count = 1) {
      query = wanted;
      list.reset(wanted);
      for (let before = -1; wanted === query && before < list.images().length && list.images().length < count; ) {
        before = list.images().length;
        await more(count - Math.max(0, before));
      }
    },
  };
}

/**
 * What went wrong, and a button that may mend it.
 * @param {Refusal} error
 * @param {() => unknown} again
 */
export const trouble = (error, again) =>
  h(
    "div.gallery-empty",
    { role: "alert" },
    inLines(error),
    currentKey() ? h("button", { type: "button", onclick: again }, "Try again") : keyButton(),
  );
