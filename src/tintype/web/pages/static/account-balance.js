/** The balance: day by day as a plot, and row by row as the ledger has it. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { day } from "./history.js";
import { pager } from "./pager.js";
import { plotLine } from "./plot.js";
import { table } from "./table.js";
import { dollars, moment } from "./words.js";

const KINDS = { grant: "Credit", settle: "Request", adjust: "Taken back" };
const ROWS = 10;

/** Fill the panel with the balance of so many last days. */
export async function drawBalance(panel, count) {
  const { days } = await get(`/v2/ledger/days?from_date=${day(count - 1)}&to_date=${day(0)}`);
  const [given, taken] = ["given", "taken"].map((name) => days.reduce((sum, one) => sum + one[name], 0));
  const rows = h("div.ledger", { "aria-live": "polite" });
  fill(
    panel,
    h("h2", {}, "Balance"),
    h("p.lead", {}, `${dollars(Number(given.toFixed(6)))} came, ${dollars(Number(taken.toFixed(6)))} went`),
    plotLine(
      days.map(({ date }) => date),
      days.map(({ balance }) => balance),
      (place) => `${dollars(days[place].balance)} at its end`,
    ),
    rows,
  );
  await drawLedger(rows, 1);
}

async function drawLedger(place, page) {
  const found = await get(`/v2/ledger?per_page=${ROWS}&page=${page}`);
  const line = (row) => [
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

const what = (row) => [
  KINDS[row.kind] ?? row.kind,
  row.note ? `: ${row.note}` : "",
  row.request_id ? h("code.id", { title: row.request_id }, row.request_id.slice(0, 8)) : "",
];
