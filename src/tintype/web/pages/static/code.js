/** Code as it stands, with its strings and comments in colours of their own. */
import { copied } from "./clipboard.js";
import { fill, h, icon, unique } from "./dom.js";

const PARTS = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)|((?:^|\s)(?:#|\/\/).*)/gm;

/** A block with `element` and `show(name, text)`. */
export function createCode() {
  const name = h("span.hint");
  const code = h("code");
  const said = h("span.hint", { role: "status" });
  let text = "";
  const copy = async () => {
    if (await copied(text)) return (said.textContent = "Copied");
    getSelection().selectAllChildren(code);
    said.textContent = "Marked: press Ctrl+C";
  };
  const id = unique("code");
  name.id = id;
  const element = h(
    "div.code",
    {},
    h("div.code-head", {}, name, said, h("button.quiet", { type: "button", onclick: copy }, icon("copy"), "Copy")),
    h("pre", { tabindex: 0, role: "region", "aria-labelledby": id }, code),
  );
  const show = (file, source) => {
    name.textContent = file;
    said.textContent = "";
    text = source;
    fill(code, coloured(source));
  };
  return { element, show };
}

function coloured(source) {
  const parts = [];
  let at = 0;
  for (const match of source.matchAll(PARTS)) {
    parts.push(source.slice(at, match.index), h(match[1] ? "span.string" : "span.comment", {}, match[0]));
    at = match.index + match[0].length;
  }
  return [...parts, source.slice(at)];
}
