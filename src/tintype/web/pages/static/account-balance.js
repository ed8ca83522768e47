/** The money: what was spent per day as a plot, and the balance row by row as the ledger has it. */

import { get } from "./api.js";
import { plotBars } from "./chart.js";
import { moment } from "./dates.js";
import { fill, h } from "./dom.js";
import { pager } from "./pager.js";
import { table } from "./table.js";
import { dollars, exact, onAxis } from "./words.js";

/** @type {Record<string, string>} */
const KINDS = { grant: "Credit", settle: "Request", adjust: "Taken back" };
const ROWS = 10;

/**
 * Fill the panel with what was added and spent.
 * @param {HTMLElement} panel
 * @param {Api.LedgerDays["days"]} days those of the plot
 */
export async function drawBalance(panel, days) {
  const [given, taken] = [sum(days.map((one) => one.given)), sum(days.map((one) => one.taken))];
  const rows = h("div.ledger", { "aria-live": "polite" });
  const spent = {
    title: "Spent",
    values: days.map((one) => one.taken),
    words: (/** @type {number} */ place) => `${dollars(days[place].taken)} spent`,
  };
  fill(
    panel,
    h("h2", {}, "Spending"),
    h("p.lead", {}, `${dollars(taken)} spent, ${dollars(given)} added`),
    taken
      ? plotBars(
          days.map(({ date }) => date),
          [spent],
          { least: 0.0001, show: onAxis, name: `Spent per day, ${dollars(taken)} in all` },
        )
      : h("p.hint", {}, "Nothing was spent in these days."),
    rows,
  );
  await drawLedger(rows, 1);
}

/**
 * To the millionth, which is what the ledger counts in.
 * @param {number[]} amounts
 */
const sum = (amounts) => Number(amounts.reduce((all, one) => all + one, 0).toFixed(6));

/**
 * @param {HTMLElement} place
 * @param {number} page
 */
async function drawLedger(place, page) {
  const found = await get(`/v2/ledger?per_page=${ROWS}&page=${page}`);
  const line = (/** @type {Api.LedgerRow} */ row) => [
    h("time", { datetime: row.created_at }, moment(row.created_at)),
    what(row),
    `${row.amount > 0 ? "+" : "−"}${exact(Math.abs(row.amount))}`,
    exact(row.balance),
  ];
  fill(
    place,
    found.total
      ? table("Ledger", ["When", "What", "Change", "Balance"], found.data.map(line))
      : h("p.hint", {}, "Nothing has changed it yet."),
    pager(found, ["entry", "entries"], (to) => drawLedger(place, to)),
  );
}

/** @param {Api.LedgerRow} row */
const what = (row) => [
  KINDS[row.kind] ?? row.kind,
  row.note ? `: ${row.note}` : "",
  row.request_id ? h("code.id", { title: row.request_id }, row.request_id.slice(0, 8)) : "",
];
