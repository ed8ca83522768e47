/** Code as it stands, with its strings and comments in colours of their own. */
import { createCopy } from "./clipboard.js";
import { fill, h, icon, unique } from "./dom.js";

const PARTS = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)|((?:^|\s)(?:#|\/\/).*)/gm;

/** A block with `element` and `show(name, text)`. */
export function createCode() {
  const name = h("span.hint", { id: unique("code") });
  const code = h("code");
  const { copy, said } = createCopy(code);
  const button = h("button.quiet", { type: "button", onclick: copy }, icon("copy"), "Copy");
  const element = h(
    "div.code",
    {},
    h("div.code-head", {}, name, said, button),
    h("pre", { tabindex: 0, role: "region", "aria-labelledby": name.id }, code),
  );
  /**
   * @param {string} file
   * @param {string} source
   */
  const show = (file, source) => {
    name.textContent = file;
    said.textContent = "";
    fill(code, coloured(source));
  };
  return { element, show };
}

/** @param {string} source */
function coloured(source) {
  const parts = [];
  let at = 0;
  for (const match of source.matchAll(PARTS)) {
    parts.push(source.slice(at, match.index), h(match[1] ? "span.string" : "span.comment", {}, match[0]));
    at = match.index + match[0].length;
  }
  return [...parts, source.slice(at)];
}
