/** Newer and older pages of a list. */
import { h } from "./dom.js";

/** Two buttons and where one is, for an answer with `page`, `total_pages` and `total`; nothing where all is on one page. */
export function pager({ page, total, total_pages: pages }, things, show, always = false) {
  if (pages < 2 && !always) return null;
  const turn = (to, words) => h("button", { type: "button", disabled: to < 1 || to > pages, onclick: () => show(to) }, words);
  return h("div.row.pager", {}, turn(page - 1, "Newer"), h("span.hint", {}, `page ${page} of ${pages}, ${total} ${things}`), turn(page + 1, "Older"));
}
