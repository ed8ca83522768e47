/** The Pricing tab: what a picture costs here, how long it takes, and what the form's request comes to. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { named } from "./models.js";
import { dollars, duration } from "./words.js";

/** Fill the panel, for the form's values. */
export async function drawPricing(panel, model, values) {
  const { billing } = await get("/about.json");
  const count = Number(values[named(model, "count")?.name] ?? 1) || 1;
  const rows = billing && model.price > 0 ? paid(model, count) : [["A picture", "free: this server bills nothing"]];
  rows.push(["The vendor's own figure", `${duration(model.typical_seconds)} a picture`]);
  rows.push([
    "Measured on this server",
    model.measured_seconds === null
      ? "nothing yet: make a picture"
      : `${duration(model.measured_seconds)} for the example request`,
  ]);
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
      h(
        "p",
        {},
        "The price is held when a request is queued, and charged once, when it is COMPLETED. What fails or is cancelled costs nothing. Loading weights is free.",
      ),
      model.price_per === "second"
        ? h(
            "p",
            {},
            "Priced by the second of the model's work: the most that it can come to is held, and what was used is charged.",
          )
        : null,
    ),
  );
}

function paid(model, count) {
  if (model.price_per === "second") return [["A second of work", dollars(model.price)]];
  return [
    ["A picture", dollars(model.price)],
    [`The request in the form (${count} ${count === 1 ? "picture" : "pictures"})`, dollars(model.price * count)],
    ["A thousand pictures", dollars(model.price * 1000)],
    ["Pictures for one dollar", Math.floor(1 / model.price + 1e-9).toLocaleString("en")],
  ];
}
