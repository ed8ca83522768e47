/** Newer and older pages of a list. */
import { h } from "./dom.js";
import { createError } from "./refusal.js";

/**
 * Two buttons and where one is; nothing where all is on one page.
 * @param {Omit<Api.Page<unknown>, "data">} found
 * @param {[one: string, several: string]} things
 * @param {(page: number) => Promise<void>} show
 * @param {boolean} always also where all is on one page
 */
export function pager({ page, total, total_pages: pages }, things, show, always = false) {
  if (pages < 2 && !always) return null;
  const error = createError();
  /**
   * @param {number} to
   * @param {string} words
   */
  const turn = (to, words) =>
    h("button", { type: "button", disabled: to < 1 || to > pages, onclick: error.listener(() => show(to)) }, words);
  return h(
    "div.row.pager",
    {},
    turn(page - 1, "Newer"),
    h("span.hint", {}, `page ${page} of ${pages}, ${total.toLocaleString("en")} ${things[total === 1 ? 0 : 1]}`),
    turn(page + 1, "Older"),
    error.element,
  );
}
