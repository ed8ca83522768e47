/** Tables that can be scrolled sideways where they are wider than the screen. */
import { h } from "./dom.js";

/**
 * A table whose rows' first cells are their heads.
 * @param {string} name
 * @param {string[]} heads
 * @param {(Child | Child[])[][]} rows a cell is a text, an element or a list of them
 */
export const table = (name, heads, rows) =>
  h(
    "div.wide",
    { tabindex: 0, role: "region", "aria-label": name },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((head) => h("th", { scope: "col" }, head)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map(([first, ...cells]) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, first),
            cells.map((cell) => h("td", {}, cell)),
          ),
        ),
      ),
    ),
  );
