/** Newer and older pages of a list. */
import { h } from "./dom.js";

/**
 * Two buttons and where one is, for an answer with `page`, `total_pages` and `total`; nothing where all is on one page.
 * `things` are the words for one and for several.
 */
export function pager({ page, total, total_pages: pages }, things, show, always = false) {
  if (pages < 2 && !always) return null;
  const turn = (to, words) =>
    h("button", { type: "button", disabled: to < 1 || to > pages, onclick: () => show(to) }, words);
  return h(
    "div.row.pager",
    {},
    turn(page - 1, "Newer"),
    h("span.hint", {}, `page ${page} of ${pages}, ${total.toLocaleString("en")} ${things[total === 1 ? 0 : 1]}`),
    turn(page + 1, "Older"),
  );
}
