/** The page of one model: what it does, and the tabs Playground, API, Pricing and History. */
import { about, others } from "./cards.js";
import { createCode } from "./code.js";
import { RANDOM } from "./controls/seed.js";
import { fill, h } from "./dom.js";
import { drawHeader, main, showFailure } from "./header.js";
import { drawHistory } from "./history.js";
import { currentKey } from "./key.js";
import { loadModels, named, nameFor, needed } from "./models.js";
import { createNotice } from "./notice.js";
import { slugHere } from "./paths.js";
import { Playground } from "./playground.js";
import { drawPricing } from "./pricing.js";
import { acceptSettings } from "./recipe.js";
import { drawReference } from "./reference.js";
import { createTabs } from "./tabs.js";
import { welcomeImages } from "./without-image.js";
import { pace, price } from "./words.js";

async function start() {
  drawHeader();
  const slug = slugHere();
  const models = await loadModels();
  const model = models.find((one) => one.slug === slug);
  if (!model) return fill(main, unknown(slug, models));
  const playground = new Playground(model);
  acceptSettings(playground);
  if (!named(model, "image")) welcomeImages(playground);
  const tabs = createTabs("About this model", [
    ["playground", "Playground", (panel) => panel.firstChild ?? panel.append(playground.element)],
    ["api", "API", (panel) => drawApi(panel, playground)],
    ["pricing", "Pricing", (panel) => drawPricing(panel, model, playground.values())],
    ["history", "History", (panel) => drawHistory(panel, { models: [model], model: model.slug })],
  ]);
  const [list, ...panels] = tabs;
  const foot = h("footer.about", {}, about(model), others(model, models));
  fill(main, h("div.masthead", {}, heading(model), list), note(model), ...panels, foot);
}

/**
 * The form's request as code: short where a mask was painted, if that can be stored.
 * @param {HTMLElement} panel
 * @param {Playground} playground
 */
async function drawApi(panel, { form, model }) {
  // Where it can't, its bytes stand in the code, which is right as well.
  const values = form.values();
  const short = currentKey() ? await form.stored(values).catch(() => values) : values;
  await drawReference(panel, model, asExample(model, short));
}

/**
 * Code with a random seed gives what nobody can compare: it has the example's.
 * @param {Model} model
 * @param {Values} values
 */
function asExample(model, values) {
  const name = nameFor(model, "seed");
  return values[name] === RANDOM && name in model.example ? { ...values, [name]: model.example[name] } : values;
}

/**
 * The model's name, and its facts in a line.
 * @param {Model} model
 */
function heading(model) {
  const type = model.type.replaceAll("-", " ");
  const facts = [model.title.endsWith(type) ? "" : type, price(model), pace(model), size(model)];
  return h(
    "div.title",
    {},
    // A number stays with the word before it.
    h("h1", {}, model.title.replace(/ (?=\d)/g, "\u00a0")),
    h(
      "ul.marks",
      {},
      facts.map((fact) => fact && h("li", {}, fact)),
    ),
  );
}

/**
 * The size of its images.
 * @param {Model} model
 */
function size(model) {
  const width = named(model, "width");
  if (!width) return model.type === "image-to-image" ? "at the input image's size" : "";
  if (width.choices.length) return `${width.choices.join(" or ")} px`;
  return `${width.minimum} to ${width.maximum} px`;
}

/**
 * What is to be known of a model's weights.
 * @param {Model} model
 */
function note(model) {
  const { weights_note: words, weights_command: command } = model;
  const todo = needed(model);
  if (todo) {
    const code = createCode();
    code.show("where the server runs", command ?? "");
    return h("div.notice", {}, h("p", {}, h("strong", {}, "Not served yet. "), todo), command ? code.element : null);
  }
  return words && model.vocabulary ? createNotice(model) : null;
}

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
