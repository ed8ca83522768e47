/** The account: its balance and use, its requests, keys and webhooks. */

import { drawBalance } from "./account-balance.js";
import { drawKeys } from "./account-keys.js";
import { drawUsage } from "./account-usage.js";
import { drawWebhooks } from "./account-webhooks.js";
import { get } from "./api.js";
import { day } from "./dates.js";
import { fill, h } from "./dom.js";
import { drawHeader, main } from "./header.js";
import { drawHistory } from "./history.js";
import { currentKey } from "./key.js";
import { keyButton } from "./key-dialog.js";
import { loadModels } from "./models.js";
import { createTabs } from "./tabs.js";
import { duration, left } from "./words.js";

/** @type {[days: number, words: string][]} */
const PERIODS = [
  [31, "31 days"],
  [92, "3 months"],
  [366, "a year"],
];

async function start() {
  drawHeader();
  // With another key, or none, nothing of the former is shown.
  document.addEventListener("tintype:key", () => show().catch(failed));
  document.addEventListener("tintype:credits", ({ detail: credits }) => {
    const shown = main.querySelector(".balance");
    if (shown && Number.isFinite(Number(credits))) shown.textContent = left(Number(credits));
  });
  await show();
}

async function show() {
  fill(main, h("div.title", {}, h("h1", {}, "Account")));
  const [owner, about, models] = await Promise.all([get("/api/auth/authenticate"), get("/about.json"), loadModels()]);
  const { read_only: reads, mode, operator } = owner.api_key;
  if (operator && reads) throw new Error("This key sees the server, on the page Operator, and nothing of an account.");
  const billed = about.billing && mode !== "test";
  const tabs = createTabs("About this account", [
    ["overview", "Overview", (panel) => drawOverview(panel, billed, about.kept_seconds, models)],
    ["requests", "Requests", (panel) => drawHistory(panel, { models })],
    ["keys", "Keys", (panel) => drawKeys(panel, { models, mode, limits: about.key_limits })],
    ["webhooks", "Webhooks", (panel) => drawWebhooks(panel, { mayChange: !reads })],
  ]);
  fill(main, h("div.title", {}, h("h1", {}, "Account"), h("p.lead", {}, owner.name)), purse(owner, billed), tabs);
}

/**
 * @param {Api.Owner} owner
 * @param {boolean} billed
 */
function purse({ credits, api_key: key }, billed) {
  const may = [
    key.read_only ? "may only read" : "may read and run",
    key.models?.length ? key.models.join(", ") : "all models",
    ...(key.mode === "test" ? ["test mode: free, no real images"] : []),
    ...(key.operator ? ["operator"] : []),
  ];
  return h(
    "dl.purse-facts",
    {},
    h(
      "div",
      {},
      h("dt", {}, "Balance"),
      billed
        ? h("dd.large.balance", {}, left(credits))
        : h("dd", {}, key.mode === "test" ? "test requests are free" : "nothing is billed here"),
    ),
    h("div", {}, h("dt", {}, "This key"), h("dd", {}, `${key.name}, ${key.hint}…`), h("dd.hint", {}, may.join("; "))),
  );
}

/**
 * Money and use over the same days.
 * @param {HTMLElement} panel
 * @param {boolean} billed
 * @param {Api.About["kept_seconds"]} kept
 * @param {Model[]} models
 */
async function drawOverview(panel, billed, kept, models) {
  const [balance, usage] = [h("section"), h("section")];
  const period = h(
    "select",
    {},
    PERIODS.map(([days, words]) => h("option", { value: days }, words)),
  );
  const draw = async () => {
    const count = Number(period.value);
    const window = `from_date=${day(count - 1)}&to_date=${day(0)}`;
    const [ledger, used] = await Promise.all([
      billed ? get(`/v2/ledger/days?${window}`) : { days: [] },
      get(`/v2/usage?${window}`),
    ]);
    const days = plotted(count, ledger.days, used.data);
    drawUsage(usage, models, used, days, count * 86_400 > kept.history ? knownFor(kept.history) : "");
    if (billed) await drawBalance(balance, ledger.days.slice(-days.length));
  };
  period.addEventListener("change", () => draw().catch(failed));
  fill(
    panel,
    h("div.filters", {}, h("label.inline", {}, "The last", period)),
    h("div.overview", {}, billed && balance, usage),
  );
  await draw();
}

/** @param {number} seconds */
const knownFor = (seconds) => `Requests are known for ${duration(seconds)}; the balance permanently.`;

/** Days of a plot at least: one bar alone would be as wide as the page. */
const MIN_DAYS = 7;

/**
 * The days of both plots: from the account's first in the window, or the one of its first request, to today.
 * @param {number} count days of the window
 * @param {Api.LedgerDays["days"]} ledger
 * @param {Api.UsageRow[]} used
 */
function plotted(count, ledger, used) {
  const days = [...Array(count).keys()].map((place) => day(count - 1 - place));
  const money = ledger.find(({ given, taken, balance }) => given || taken || balance)?.date ?? days[count - 1];
  const [first] = [money, ...used.map(({ date }) => date)].sort();
  return days.slice(-Math.max(MIN_DAYS, days.filter((date) => date >= first).length));
}

/** @param {Error} error */
function failed(error) {
  const retry = currentKey() ? null : keyButton();
  fill(main, h("div.lone", {}, h("h1", {}, "Account"), h("p", { role: "alert" }, error.message), retry));
}

start().catch(failed);
