/** Usage by day and by model: a plot of the days, and sums by model as a table. */
import { plotBars } from "./chart.js";
import { fill, h } from "./dom.js";
import { table } from "./table.js";
import { dollars, shortTitle } from "./words.js";

/**
 * Fill the panel with what was used.
 * @param {HTMLElement} panel
 * @param {Model[]} models
 * @param {Api.Usage} usage
 * @param {string[]} days those of the plot
 * @param {string} known what the server knows of requests, where that is less than was asked for
 */
export function drawUsage(panel, models, { data, total }, days, known) {
  const rows = models
    .map((model) => ({ model, rows: data.filter((row) => row.model_name === model.slug) }))
    .filter(({ rows }) => rows.length);
  fill(
    panel,
    h("h2", {}, "Usage"),
    h(
      "p.lead",
      {},
      `${total.requests.toLocaleString("en")} ${total.requests === 1 ? "request" : "requests"}, ${dollars(total.cost)}`,
    ),
    known ? h("p.hint", {}, known) : null,
    total.requests
      ? plotBars(
          days,
          rows.map((one) => series(one, days)),
          { least: 1, show: (tick) => tick.toLocaleString("en"), name: `Requests per day, ${total.requests} in all` },
        )
      : h("p.hint", {}, "Nothing was asked for in these days."),
    total.requests
      ? table("Usage by model", ["Model", "Requests", "Completed", "Failed", "Cost"], rows.map(line))
      : null,
  );
}

/** @typedef {{model: Model, rows: Api.UsageRow[]}} ModelUse */

/**
 * A model's requests on each day, and the words for a day of it.
 * @param {ModelUse} use
 * @param {string[]} days
 */
function series({ model, rows }, days) {
  const of = new Map(rows.map((row) => [row.date, row]));
  return {
    title: shortTitle(model),
    values: days.map((date) => of.get(date)?.requests ?? 0),
    words: (/** @type {number} */ place) =>
      `${of.get(days[place])?.requests} × ${shortTitle(model)}, ${dollars(of.get(days[place])?.cost ?? 0)}`,
  };
}

/** @type {("requests" | "completed" | "failed")[]} */
const COUNTS = ["requests", "completed", "failed"];

/** @param {ModelUse} use */
function line({ model, rows }) {
  const sum = (/** @type {(typeof COUNTS)[number] | "cost"} */ name) => rows.reduce((all, row) => all + row[name], 0);
  return [
    shortTitle(model),
    ...COUNTS.map((name) => sum(name).toLocaleString("en")),
    dollars(Number(sum("cost").toFixed(6))),
  ];
}
