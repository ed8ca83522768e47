/** A webhook's delivery log: what was sent, what came of it, and the button that sends it again. */

import { get, send, sleep } from "./api.js";
import { moment } from "./dates.js";
import { fill, h, icon } from "./dom.js";
import { createError } from "./refusal.js";

/** Milliseconds between polls of deliveries that wait, and how many polls there are. */
const [PAUSE, POLLS] = [1000, 20];
/** Rows of a page of the server's. */
const PAGE = 100;
/** Classes of the badges. */
const BADGES = { DELIVERED: "good", FAILED: "bad", PENDING: "open" };

/**
 * A page of the log: how it is read, and whether it is still shown.
 * @typedef {{read: () => Promise<Api.Delivery[]>, shown: () => boolean}} LogPage
 */

/**
 * Fill the place with one page of the log.
 * @param {HTMLElement} place
 * @param {Api.Webhook} webhook
 * @param {boolean} mayChange
 * @param {number} page
 */
export async function drawLog(place, webhook, mayChange, page = 1) {
  const read = async () => (await get(`/webhook/dispatch-logs?webhook_id=${webhook.webhook_id}&page=${page}`)).logs;
  const shown = () => place.checkVisibility() && place.dataset.page === String(page);
  const show = (/** @type {number} */ to) => drawLog(place, webhook, mayChange, to);
  const error = createError();
  /**
   * @param {number} to
   * @param {string} words
   */
  const turn = (to, words) => h("button", { type: "button", onclick: error.listener(() => show(to)) }, words);
  const again = mayChange && webhook.is_active;
  const draw = (/** @type {Api.Delivery[]} */ logs) => {
    place.dataset.page = String(page);
    fill(
      place,
      logs.length
        ? h(
            "ul.rows.plain",
            {},
            logs.map((log) => one(log, again, { read, shown }, () => show(page))),
          )
        : h("p.hint", {}, "Nothing was sent yet."),
      h(
        "div.row",
        {},
        page > 1 ? turn(page - 1, "Newer") : null,
        logs.length === PAGE ? turn(page + 1, "Older") : null,
      ),
      error.element,
    );
  };
  const logs = await read();
  draw(logs);
  follow(logs, { read, shown }, draw);
}

/**
 * Draw the page again as messages that are being sent are answered: while it is shown, and for a while at most.
 * @param {Api.Delivery[]} logs
 * @param {LogPage} page
 * @param {(logs: Api.Delivery[]) => void} draw
 */
async function follow(logs, { read, shown }, draw) {
  const sending = (/** @type {Api.Delivery} */ { status, error }) => status === "PENDING" && !error;
  try {
    for (let poll = 0; poll < POLLS && logs.some(sending); poll += 1) {
      await sleep(PAUSE);
      if (!shown()) return;
      const now = await read();
      if (!shown()) return;
      const answered = logs
        .filter(sending)
        .some(({ delivery_id: id }) => !now.some((log) => log.delivery_id === id && sending(log)));
      if (!answered) continue;
      logs = now;
      draw(logs);
    }
  } catch {
    // The log stays as it is; opening it again shows the error.
  }
}

/**
 * @param {Api.Delivery} log
 * @param {boolean} again whether it may be sent again
 * @param {LogPage} page
 * @param {() => Promise<void>} redraw
 */
function one(log, again, page, redraw) {
  const error = createError();
  const replay = async () => {
    await send("/webhook/replay", { delivery_id: log.delivery_id });
    await settled(log, page);
    if (page.shown()) await redraw();
  };
  const button = h("button.tool", { type: "button", onclick: error.listener(replay) }, icon("again"), "Replay");
  return h(
    "li",
    { "data-state": log.status },
    h(
      "div.what",
      {},
      h(
        "p",
        {},
        h(`span.badge.${BADGES[log.status]}`, {}, log.status.toLowerCase()),
        " ",
        log.event.replace("_", " ").toLowerCase(),
        " ",
        h("code.id", { title: log.request_id }, log.request_id.slice(0, 8)),
      ),
      h("p.hint", {}, told(log)),
      log.error && log.status !== "DELIVERED" && !log.response_status ? h("p.error", {}, log.error) : null,
      error.element,
    ),
    again ? button : null,
  );
}

/** @param {Api.Delivery} log */
function told(log) {
  const tries = `${log.attempts} ${log.attempts === 1 ? "attempt" : "attempts"}`;
  const next = log.next_attempt_at ? `next ${moment(log.next_attempt_at)}` : "";
  return [moment(log.created_at), tries, log.response_status ? `HTTP ${log.response_status}` : "", next]
    .filter(Boolean)
    .join(" · ");
}

/**
 * Wait until a delivery that is sent again has been tried: while its page is shown, and for a while at most.
 * @param {Api.Delivery} delivery
 * @param {LogPage} page
 */
async function settled({ delivery_id: id, attempts }, { read, shown }) {
  for (let poll = 0; poll < POLLS && shown(); poll += 1) {
    const log = (await read()).find(({ delivery_id: one }) => one === id);
    if (!log || (log.attempts > attempts && (log.status !== "PENDING" || log.error))) return;
    await sleep(PAUSE);
  }
}
