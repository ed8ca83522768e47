/** Models as cards: on the front page, and at the foot of a model's page the others. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { needed } from "./models.js";
import { local } from "./paths.js";
import { pace, price, shortTitle } from "./words.js";

/**
 * A model's sample, name, price and seconds, which lead to its page.
 * @param {Model} model
 * @param {"eager" | "lazy"} [loading] of the image
 */
export function card(model, loading = "eager") {
  const own = model.weights === "built-in";
  const sample = own
    ? h("img", { loading, src: model.sample, alt: "" })
    : h("img.faint", { src: "/static/icon.svg", alt: "" });
  return h(
    "li",
    {},
    h(
      "a.card",
      { href: `/models/${model.slug}`, "data-slug": model.slug },
      h("div.plate", {}, sample, h("span.caption", {}, caption(model))),
      h(
        "div.words",
        {},
        h("h2", {}, shortTitle(model)),
        h("p", {}, model.description),
        h(
          "ul.marks",
          {},
          [price(model), pace(model)].map((mark) => h("li", {}, mark)),
        ),
        needed(model) && model.weights_command ? h("p.command", {}, h("code", {}, model.weights_command)) : null,
      ),
    ),
  );
}

/** @param {Model} model */
function caption({ weights }) {
  if (weights === "built-in") return "drawn by the built-in weights";
  return weights ?? "nothing made here yet";
}

/**
 * What a model is, and where its published weights come from, in sentences.
 * @param {Model} model
 */
export function about(model) {
  const { weights_published: published, weights_command: command } = model;
  return h(
    "section",
    {},
    h("h2", {}, `About ${shortTitle(model)}`),
    h("p", {}, model.description, " ", model.weights === "built-in" ? "Here, the built-in weights draw." : ""),
    published
      ? h(
          "p.hint",
          {},
          "Published weights: ",
          h("code", {}, published.repository),
          `, ${(published.bytes / 1e9).toFixed(1)} GB to pull. Licence: ${published.licence}`,
          published.gated ? ", to be accepted on its page at the Hugging Face hub first" : "",
          ". ",
          h("code", {}, command),
        )
      : null,
  );
}

const OTHERS = 4;

/**
 * Some of the other models, the ones of its kind first; null where it is the only one.
 * @param {Model} model
 * @param {Model[]} models
 */
export function others(model, models) {
  const rest = models.filter(({ slug }) => slug !== model.slug);
  const alike = rest.filter(({ type }) => type === model.type);
  const shown = [...alike, ...rest.filter(({ type }) => type !== model.type)].slice(0, OTHERS);
  if (!shown.length) return null;
  return h(
    "section",
    {},
    h("h2", {}, "Other models"),
    h(
      "ul.cards",
      {},
      shown.map((one) => card(one, "lazy")),
    ),
  );
}

/**
 * The reader's own latest image of a model is a truer sample than ours.
 * @param {Model} model
 */
export async function showLatest(model) {
  const { data } = await get(`/inference-request/recent-generations?model_name=${encodeURIComponent(model.slug)}`);
  const latest = data.find((row) => row.model_name === model.slug && row.generation_url)?.generation_url;
  const plate = document.querySelector(`[data-slug="${CSS.escape(model.slug)}"] .plate`);
  if (latest && plate)
    fill(plate, h("img", { src: local(latest), alt: "" }), h("span.caption", {}, "your latest image"));
}
