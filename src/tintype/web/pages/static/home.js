/** The models as cards. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { drawHeader, main, showFailure } from "./header.js";
import { currentKey } from "./key.js";
import { loadModels } from "./models.js";
import { local } from "./paths.js";
import { pace, price } from "./words.js";

async function start() {
  drawHeader();
  const models = await loadModels();
  fill(
    main,
    h(
      "div.title.front",
      {},
      h("h1", {}, "What shall we make?"),
      h("p.lead", {}, "The models of this machine. Choose one, describe a picture, and watch it develop."),
    ),
    h("ul.cards", {}, models.map(card)),
  );
  // Where they can't be had, the samples stay.
  if (currentKey()) await Promise.allSettled(models.map(showLatest));
}

/** @param {Model} model */
function card(model) {
  const own = model.weights === "built-in";
  const sample = own ? h("img", { src: model.sample, alt: "" }) : h("img.faint", { src: "/static/icon.svg", alt: "" });
  return h(
    "li",
    {},
    h(
      "a.card",
      { href: `/models/${model.slug}`, "data-slug": model.slug },
      h(
        "div.plate",
        {},
        sample,
        h("span.caption", {}, own ? "drawn by the built-in weights" : "nothing made here yet"),
      ),
      h(
        "div.words",
        {},
        h("p.kind", {}, model.type.replaceAll("-", " ")),
        h("h2", {}, model.title),
        h("p", {}, model.description),
        h(
          "ul.marks",
          {},
          [price(model), pace(model)].map((mark) => h("li", {}, mark)),
        ),
      ),
    ),
  );
}

/**
 * The reader's own latest picture of a model is a truer sample than ours.
 * @param {Model} model
 */
async function showLatest(model) {
  const { data } = await get(`/inference-request/recent-generations?model_name=${encodeURIComponent(model.slug)}`);
  const latest = data.find((row) => row.model_name === model.slug && row.generation_url)?.generation_url;
  const plate = document.querySelector(`[data-slug="${CSS.escape(model.slug)}"] .plate`);
  if (latest && plate)
    fill(plate, h("img", { src: local(latest), alt: "" }), h("span.caption", {}, "your latest picture"));
}

start().catch(showFailure);
