/** A webhook's delivery log: what was sent, what came of it, and the button that sends it again. */
import { get, send } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { moment } from "./words.js";

/** Milliseconds between looks at deliveries that wait, and how many looks there are. */
const [PAUSE, LOOKS] = [1000, 20];
/** Rows of a page of the server's. */
const PAGE = 100;

/** Fill the place with one page of the log. */
export async function drawLog(place, hook, mayChange, page = 1) {
  const { logs } = await get(`/webhook/dispatch-logs?webhook_id=${hook.webhook_id}&page=${page}`);
  const turn = (to, words) => h("button", { type: "button", onclick: () => drawLog(place, hook, mayChange, to) }, words);
  const again = mayChange && hook.is_active;
  fill(place, logs.length ? h("ul.rows.plain", {}, logs.map((log) => one(log, hook, again, () => drawLog(place, hook, mayChange, page)))) : h("p.hint", {}, "Nothing was sent yet."),
    h("div.row", {}, page > 1 ? turn(page - 1, "Newer") : null, logs.length === PAGE ? turn(page + 1, "Older") : null));
  const sending = logs.find(({ status, error }) => status === "PENDING" && !error);
  if (sending) follow(sending, hook, () => place.isConnected && drawLog(place, hook, mayChange, page));
}

/** Draw the log again when a message that was being sent as it was drawn has been answered. */
async function follow(log, hook, redraw) {
  try {
    if (await settled({ ...log, attempts: log.attempts - 1 }, hook)) await redraw();
  } catch {
    // The log stays as it is; opening it again shows the error.
  }
}

function one(log, hook, again, redraw) {
  const error = h("p.error", { role: "alert" });
  const replay = async () => {
    button.disabled = true;
    try {
      await send("/webhook/replay", { delivery_id: log.delivery_id });
      await settled(log, hook);
      await redraw();
    } catch (refused) {
      error.textContent = refused.message;
      button.disabled = false;
    }
  };
  const button = h("button.tool", { type: "button", onclick: replay }, icon("again"), "Replay");
  return h("li", { "data-state": log.status }, h("div.what", {},
    h("p", {}, h(`span.badge.${log.status === "DELIVERED" ? "good" : log.status === "FAILED" ? "bad" : "open"}`, {}, log.status.toLowerCase()), " ", log.event.replace("_", " ").toLowerCase(), " ", h("code.id", { title: log.request_id }, log.request_id.slice(0, 8))),
    h("p.hint", {}, told(log)), log.error && log.status !== "DELIVERED" && !log.response_status ? h("p.error", {}, log.error) : null, error), again ? button : null);
}

function told(log) {
  const tries = `${log.attempts} ${log.attempts === 1 ? "attempt" : "attempts"}`;
  const next = log.next_attempt_at ? `next ${moment(log.next_attempt_at)}` : "";
  return [moment(log.created_at), tries, log.response_status ? `HTTP ${log.response_status}` : "", next].filter(Boolean).join(" · ");
}

/** Wait until a delivery that is being sent has been tried, for a while at most; whether it has. */
async function settled({ delivery_id: id, attempts }, hook) {
  for (let look = 0; look < LOOKS; look += 1) {
    const { logs } = await get(`/webhook/dispatch-logs?webhook_id=${hook.webhook_id}`);
    const log = logs.find(({ delivery_id: one }) => one === id);
    if (!log || (log.attempts > attempts && (log.status !== "PENDING" || log.error))) return true;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return false;
}
