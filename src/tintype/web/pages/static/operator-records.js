/** What accounts used this month, and who did what: pages of what the server keeps. */

import { get } from "./api.js";
import { moment } from "./dates.js";
import { fill, h } from "./dom.js";
import { pager } from "./pager.js";
import { table } from "./table.js";
import { dollars } from "./words.js";

const ROWS = 10;

/**
 * Fill the panel with a page of accounts, the one that paid most first.
 * @param {HTMLElement} panel
 */
export async function drawUse(panel, page = 1) {
  const used = await get(`/v2/operator/usage?per_page=${ROWS}&page=${page}`);
  const line = (/** @type {Api.AccountUse} */ one) => [
    [one.name, one.mode === "test" ? h("span.badge", {}, "test") : null],
    number(one.charged),
    dollars(one.cost),
    number(one.uncharged),
    number(one.completed),
    number(one.failed),
  ];
  const { total_charged: charged, total_cost: cost } = used;
  fill(
    panel,
    h("h2", {}, "This month by account"),
    h("p.lead", {}, `${number(charged)} ${charged === 1 ? "request" : "requests"} charged, ${dollars(cost)}`),
    h(
      "p.hint",
      {},
      `${used.from} to ${used.to}, UTC. Requests count on the day that they ended. For other times: `,
      h("code", {}, "tintype accounts usage"),
    ),
    used.total
      ? table(
          "Use by account",
          ["Account", "Charged", "Cost", "Not charged", "Completed", "Failed"],
          used.data.map(line),
        )
      : h("p.hint", {}, "No request has ended yet."),
    pager(used, ["row", "rows"], (to) => drawUse(panel, to)),
  );
}

/**
 * Fill the panel with a page of acts, the newest first.
 * @param {HTMLElement} panel
 */
export async function drawAudit(panel, page = 1) {
  const found = await get(`/v2/operator/audit?per_page=${ROWS}&page=${page}`);
  fill(
    panel,
    h("h2", {}, "Who did what"),
    h(
      "p.hint",
      {},
      "Acts of operators, and of accounts about their keys and webhooks, the newest first. To search them: ",
      h("code", {}, "tintype audit"),
    ),
    found.total
      ? table("Acts", ["When", "Act", "Who", "What"], found.data.map(act))
      : h("p.hint", {}, "Nothing was done yet."),
    pager(found, ["act", "acts"], (to) => drawAudit(panel, to)),
  );
}

const number = (/** @type {number | null} */ count) => (count === null ? "not kept" : count.toLocaleString("en"));

const act = (/** @type {Api.Act} */ one) => [
  h("time.whole", { datetime: one.at }, moment(one.at)),
  h("span.whole", {}, one.times > 1 ? `${one.act} × ${number(one.times)}` : one.act),
  [h("span.whole", {}, one.who), one.address ? h("span.hint.whole", {}, one.address) : null],
  [h("code.id.whole", {}, one.target), h("span.hint", {}, details(one.details))],
];

const details = (/** @type {Api.Act["details"]} */ said) =>
  Object.entries(said)
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${detail(name, value)}`)
    .join(", ");

/**
 * A detail in words; a moment is in unix seconds, as the database has it.
 * @param {string} name
 * @param {unknown} value
 */
function detail(name, value) {
  if (name.endsWith("_at") && typeof value === "number") return moment(new Date(value * 1000).toISOString());
  return Array.isArray(value) ? value.join(" ") : value;
}
