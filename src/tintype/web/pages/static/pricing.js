/** The Pricing tab: what an image costs here, how long it takes, and what the form's request comes to. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { imageCount } from "./models.js";
import { dollars, duration, exact } from "./words.js";

const HELD =
  "The price is held when a request is queued, and charged once, when it is COMPLETED. " +
  "What fails or is cancelled costs nothing. Loading weights is free.";
const BY_SECOND =
  "Priced by the second of the model's work: the maximum that it can come to is held, and what was used is charged.";

/**
 * Fill the panel, for the form's values.
 * @param {HTMLElement} panel
 * @param {Model} model
 * @param {Values} values
 */
export async function drawPricing(panel, model, values) {
  const { billing } = await get("/about.json");
  const { price, typical_seconds: typical, measured_seconds: measured } = model;
  const rows = [
    ...(billing && price > 0
      ? paid(model, imageCount(model, values))
      : [["An image", "free: this server bills nothing"]]),
    ["The vendor's own figure", `${duration(typical)} an image`],
    [
      "Measured on this server",
      measured === null ? "nothing yet: make an image" : `${duration(measured)} for the example request`,
    ],
  ];
  fill(
    panel,
    h(
      "div.prose",
      {},
      h("h2", {}, "Pricing"),
      h(
        "table",
        {},
        h(
          "tbody",
          {},
          rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))),
        ),
      ),
      h("p", {}, HELD),
      model.price_per === "second" ? h("p", {}, BY_SECOND) : null,
    ),
  );
}

/**
 * @param {Model} model
 * @param {number} count of images in the form's request
 */
function paid(model, count) {
  if (model.price_per === "second") return [["A second of work", exact(model.price)]];
  return [
    ["An image", exact(model.price)],
    [`The request in the form (${count} ${count === 1 ? "image" : "images"})`, exact(model.price * count)],
    ["A thousand images", dollars(model.price * 1000)],
    ["Images for one dollar", Math.floor(1 / model.price + 1e-9).toLocaleString("en")],
  ];
}
