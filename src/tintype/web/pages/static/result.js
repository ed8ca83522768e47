/** A finished request: its pictures, what they cost, and what can be done with them. */
import { h, icon } from "./dom.js";
import { local } from "./paths.js";
import { dollars, duration } from "./words.js";

/**
 * The pictures of a finished request, as the shelf and the stage know them.
 * @param {Api.Result} result
 * @param {Values} values
 * @returns {Picture[]}
 */
export function pictures(result, values) {
  return result.images.map((image) => ({
    url: local(image.url),
    seed: image.seed,
    name: image.file_name,
    values,
    metrics: result.metrics,
    label: `seed ${image.seed}`,
    prompt: result.prompt,
  }));
}

/**
 * The pictures of one request on the stage.
 * @param {Picture[]} made
 * @param {PictureActs} acts what the buttons do with a picture
 */
export function showResult(made, acts) {
  const chosen = made[0];
  const single = made.length === 1;
  const plates = made.map((picture) =>
    h(
      "figure.plate",
      {},
      h(
        "a",
        { href: picture.url, target: "_blank", title: "Open at its full size" },
        h("img", { src: picture.url, alt: picture.prompt || "The picture" }),
      ),
      single ? null : h("figcaption", {}, `seed ${picture.seed}`, tools(picture, acts, true)),
    ),
  );
  return h(
    "div.result",
    {},
    h("div.plates", { "data-count": made.length }, plates),
    facts(chosen, made.length),
    single ? tools(chosen, acts) : null,
  );
}

/**
 * @param {Picture} first
 * @param {number} count
 */
function facts({ seed, metrics, values }, count) {
  const rows = [
    ["Seed", count > 1 ? `${seed} and on` : seed],
    ["Cost", metrics.cost ? dollars(metrics.cost) : "free"],
    ["Drawn in", duration(metrics.inference_time)],
    ["Waited", duration(metrics.queue_time)],
  ];
  return h(
    "dl.facts",
    { "data-prompt": values.prompt },
    rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/**
 * @param {Picture} picture
 * @param {PictureActs} acts
 * @param {boolean} short icons alone
 */
function tools(picture, acts, short = false) {
  /**
   * @param {Parameters<typeof icon>[0]} name
   * @param {string} words
   * @param {((picture: Picture) => void) | undefined} act
   */
  const button = (name, words, act) =>
    act &&
    h(
      "button.tool",
      { type: "button", title: words, "aria-label": short ? words : null, onclick: () => act(picture) },
      icon(name),
      short ? null : words,
    );
  return h(
    "div.tools",
    { role: "group", "aria-label": "This picture" },
    h(
      "a.tool",
      { href: picture.url, download: picture.name, title: "Download", "aria-label": short ? "Download" : null },
      icon("download"),
      short ? null : "Download",
    ),
    button("again", "Same seed", acts.same),
    button("dice", "Vary seed", acts.vary),
    button("input", "Use as input", acts.input),
    button("compare", "Compare", acts.compare),
    button("link", "Copy link", acts.link),
  );
}
