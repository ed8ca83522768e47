/** What the built-in weights can draw, to search in and to click. */
import { fill, h } from "./dom.js";

/**
 * The help for a model with the built-in weights; null for one with weights of the operator's.
 * @param {Model} model
 * @param {(prompt: string) => void} write
 */
export function vocabulary({ vocabulary: things, colours = [] }, write) {
  if (!things) return null;
  const list = h("ul.things");
  const search = h("input", {
    type: "search",
    placeholder: `Search ${things.length} things`,
    "aria-label": "Search the things that can be drawn",
  });
  const draw = () => {
    const found = things.filter(({ name }) => name.includes(search.value.trim().toLowerCase()));
    fill(
      list,
      found.map(({ name, emoji }) =>
        h(
          "li",
          {},
          h(
            "button",
            { type: "button", onclick: () => write(phrase(name)) },
            h("span.emoji", { "aria-hidden": "true" }, emoji),
            name,
          ),
        ),
      ),
    );
    if (!found.length) fill(list, h("li.hint", {}, "These weights know nothing by this name."));
  };
  search.addEventListener("input", draw);
  draw();
  return h(
    "details.vocabulary",
    {},
    h("summary", {}, `What the built-in weights can draw: ${things.length} things`),
    h("div.inside", {}, search, list, h("p.hint", {}, `Each also “on a … background”: ${colours.join(", ")}.`)),
  );
}

const phrase = (/** @type {string} */ name) => `${/^[aeiou]/.test(name) ? "an" : "a"} ${name}`;

/**
 * Prompts to try, as buttons.
 * @param {Model} model
 * @param {(prompt: string) => void} write
 */
export function ideas(model, write) {
  if (!model.prompts) return null;
  return h(
    "div.ideas",
    { role: "group", "aria-label": "Prompts to try" },
    h("span.hint", {}, "Try"),
    model.prompts.map((prompt) => h("button", { type: "button", onclick: () => write(prompt) }, prompt)),
  );
}
