/** The page of one model: what it does, and the tabs Playground, API, Pricing and History. */
import { fill, h } from "./dom.js";
import { drawHeader, main, showFailure } from "./header.js";
import { drawHistory } from "./history.js";
import { loadModels } from "./models.js";
import { Playground } from "./playground.js";
import { drawPricing } from "./pricing.js";
import { drawReference } from "./reference.js";
import { createTabs } from "./tabs.js";
import { pace, price } from "./words.js";

async function start() {
  drawHeader();
  const slug = decodeURIComponent(location.pathname.split("/").at(-1) ?? "");
  const models = await loadModels();
  const model = models.find((one) => one.slug === slug);
  if (!model) return fill(main, unknown(slug, models));
  const playground = new Playground(model);
  const tabs = createTabs("About this model", [
    ["playground", "Playground", (panel) => panel.firstChild ?? panel.append(playground.element)],
    ["api", "API", (panel) => drawReference(panel, model, playground.values())],
    ["pricing", "Pricing", (panel) => drawPricing(panel, model, playground.values())],
    ["history", "History", (panel) => drawHistory(panel, { models: [model], model: model.slug })],
  ]);
  fill(main, heading(model), tabs);
}

/** @param {Model} model */
function heading(model) {
  const marks = [model.type.replaceAll("-", " "), price(model), pace(model)];
  return h(
    "div.title",
    {},
    h("p.crumb", {}, h("a", { href: "/" }, "Models"), " / ", h("code", {}, model.slug)),
    h("h1", {}, model.title),
    h("p.lead", {}, model.description),
    h(
      "ul.marks",
      {},
      marks.map((mark) => h("li", {}, mark)),
    ),
    model.weights_note
      ? h("p.notice", {}, h("strong", {}, "Built-in weights. "), note(model.slug, model.weights_note))
      : null,
  );
}

/**
 * @param {string} slug
 * @param {string} words what the server says of the weights
 */
const note = (slug, words) =>
  `They are ${words.replace(/^built-in weights: /, "")}. Other words give wrong things. ` +
  `Give the server real weights (tintype models pull ${slug}) and this page draws what they draw.`;

/**
 * @param {string} slug
 * @param {Model[]} models
 */
function unknown(slug, models) {
  return h(
    "div.lone",
    {},
    h("h1", {}, "No such model"),
    h("p", {}, h("code", {}, slug.slice(0, 80)), " is not served here. These are:"),
    h(
      "ul",
      {},
      models.map((model) => h("li", {}, h("a", { href: `/models/${model.slug}` }, model.title))),
    ),
  );
}

start().catch(showFailure);
