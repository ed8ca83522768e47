/** What is to be known of the built-in weights, in a line that can be closed, and stays closed. */
import { h, icon } from "./dom.js";
import { remember, remembered } from "./remember.js";

const CLOSED = "notice-closed";

/**
 * The line of a model with the built-in weights; null once it was closed.
 * @param {Model} model
 */
export function createNotice({ vocabulary = [], colours = [], weights_note: words = "", weights_command: command }) {
  if (remembered(CLOSED) !== null) return null;
  const drawn = words.split(", ").at(-1);
  const close = () => {
    remember(CLOSED, words);
    element.remove();
  };
  const element = h(
    "div.notice.closable",
    {},
    h(
      "details",
      {},
      h(
        "summary",
        {},
        h(
          "span",
          {},
          h("strong", {}, "Built-in weights."),
          ` They draw ${vocabulary.length} things on ${colours.length} colours, and nothing else.`,
        ),
      ),
      h(
        "p",
        {},
        `Images are ${drawn}. Other words give wrong things. `,
        ...(command ? ["Real weights, from ", h("code", {}, command), ", draw what you ask for."] : []),
      ),
    ),
    h(
      "button.quiet.close",
      { type: "button", title: "Close, for good", "aria-label": "Close this notice", onclick: close },
      icon("close"),
    ),
  );
  return element;
}
