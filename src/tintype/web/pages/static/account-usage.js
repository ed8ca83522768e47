/** Usage by day and by model: a plot of the days, and sums by model as a table. */
import { get } from "./api.js";
import { plotBars } from "./chart.js";
import { fill, h } from "./dom.js";
import { day } from "./history.js";
import { table } from "./table.js";
import { dollars, duration } from "./words.js";

/**
 * Fill the panel with what was used in the last days.
 * @param {HTMLElement} panel
 * @param {Model[]} models
 * @param {number} count of days
 * @param {number} kept seconds for which the server knows of requests
 */
export async function drawUsage(panel, models, count, kept) {
  const { data, total } = await get(`/v2/usage?from_date=${day(count - 1)}&to_date=${day(0)}`);
  const days = [...Array(count).keys()].map((before) => day(count - 1 - before));
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
    count * 86_400 > kept
      ? h("p.hint", {}, `Requests are known for ${duration(kept)}; the balance permanently.`)
      : null,
    total.requests
      ? plotBars(
          days,
          rows.map((one) => series(one, days)),
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
    title: model.title,
    values: days.map((date) => of.get(date)?.requests ?? 0),
    words: (/** @type {number} */ place) =>
      `${of.get(days[place])?.requests} × ${model.title}, ${dollars(of.get(days[place])?.cost ?? 0)}`,
  };
}

/** @type {("requests" | "completed" | "failed")[]} */
const COUNTS = ["requests", "completed", "failed"];

/** @param {ModelUse} use */
function line({ model, rows }) {
  const sum = (/** @type {(typeof COUNTS)[number] | "cost"} */ name) => rows.reduce((all, row) => all + row[name], 0);
  return [
    model.title,
    ...COUNTS.map((name) => sum(name).toLocaleString("en")),
    dollars(Number(sum("cost").toFixed(6))),
  ];
}
