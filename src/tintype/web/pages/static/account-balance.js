/** The balance: day by day as a plot, and row by row as the ledger has it. */
import { get } from "./api.js";
import { plotLine } from "./chart.js";
import { fill, h } from "./dom.js";
import { day } from "./history.js";
import { pager } from "./pager.js";
import { table } from "./table.js";
import { dollars, moment } from "./words.js";

/** @type {Record<string, string>} */
const KINDS = { grant: "Credit", settle: "Request", adjust: "Taken back" };
const ROWS = 10;

/**
 * Fill the panel with the balance of the last days.
 * @param {HTMLElement} panel
 * @param {number} count of days
 */
export async function drawBalance(panel, count) {
  const { days } = await get(`/v2/ledger/days?from_date=${day(count - 1)}&to_date=${day(0)}`);
  const [given, taken] = [sum(days.map((one) => one.given)), sum(days.map((one) => one.taken))];
  const rows = h("div.ledger", { "aria-live": "polite" });
  fill(
    panel,
    h("h2", {}, "Balance"),
    h("p.lead", {}, `${dollars(given)} added, ${dollars(taken)} spent`),
    plotLine(
      days.map(({ date }) => date),
      days.map(({ balance }) => balance),
      (place) => `${dollars(days[place].balance)} at its end`,
    ),
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
    `${row.amount > 0 ? "+" : "−"}${dollars(Math.abs(row.amount))}`,
    dollars(row.balance),
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
