/** The pictures made on this page so far, newest first. */
import { fill, h } from "./dom.js";

/**
 * A shelf with `element`, `add(made)` and `all()`.
 * @param {(made: Picture[]) => void} open shows a request's pictures again
 */
export function createShelf(open) {
  const list = h("ul.shelf", { "aria-label": "Made on this page" });
  /** @type {Picture[][]} */
  const requests = [];
  return {
    element: list,
    /** @param {Picture[]} made */
    add(made) {
      requests.unshift(made);
      fill(
        list,
        requests.map((one, place) =>
          h(
            "li",
            {},
            h(
              "button",
              {
                type: "button",
                "aria-label": `Show picture ${requests.length - place}, seed ${one[0].seed}`,
                onclick: () => open(one),
              },
              h("img", { src: one[0].url, alt: "" }),
              one.length > 1 ? h("span.count", {}, `${one.length}`) : null,
            ),
          ),
        ),
      );
      list.hidden = requests.length < 2;
    },
    all: () => requests.flat(),
  };
}
