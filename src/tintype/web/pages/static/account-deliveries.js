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
  const read = async () => (await get(`/webhook/dispatch-logs?webhook_id=${hook.webhook_id}&page=${page}`)).logs;
  const shown = () => place.checkVisibility() && place.dataset.page === String(page);
  const show = (to) => drawLog(place, hook, mayChange, to);
  const turn = (to, words) => h("button", { type: "button", onclick: () => show(to) }, words);
  const again = mayChange && hook.is_active;
  const draw = (logs) => {
    place.dataset.page = page;
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
    );
  };
  const logs = await read();
  draw(logs);
  follow(logs, { read, shown }, draw);
}

/** Draw the page again as messages that are being sent are answered: while it is shown, and for a while at most. */
async function follow(logs, { read, shown }, draw) {
  const sending = ({ status, error }) => status === "PENDING" && !error;
  try {
    for (let look = 0; look < LOOKS && logs.some(sending); look += 1) {
      await pause();
      if (!shown()) return;
      const now = await read();
      if (!shown()) return;
      const answered = logs
        .filter(sending)
        .some(({ delivery_id: id }) => !now.some((log) => log.delivery_id === id && sending(log)));
      if (answered) draw((logs = now));
    }
  } catch {
    // The log stays as it is; opening it again shows the error.
  }
}

function one(log, again, { read, shown }, redraw) {
  const error = h("p.error", { role: "alert" });
  const replay = async () => {
    button.disabled = true;
    try {
      await send("/webhook/replay", { delivery_id: log.delivery_id });
      await settled(log, { read, shown });
      if (shown()) await redraw();
    } catch (refused) {
      error.textContent = refused.message;
      button.disabled = false;
    }
  };
  const button = h("button.tool", { type: "button", onclick: replay }, icon("again"), "Replay");
  return h(
    "li",
    { "data-state": log.status },
    h(
      "div.what",
      {},
      h(
        "p",
        {},
        h(
          `span.badge.${log.status === "DELIVERED" ? "good" : log.status === "FAILED" ? "bad" : "open"}`,
          {},
          log.status.toLowerCase(),
        ),
        " ",
        log.event.replace("_", " ").toLowerCase(),
        " ",
        h("code.id", { title: log.request_id }, log.request_id.slice(0, 8)),
      ),
      h("p.hint", {}, told(log)),
      log.error && log.status !== "DELIVERED" && !log.response_status ? h("p.error", {}, log.error) : null,
      error,
    ),
    again ? button : null,
  );
}

function told(log) {
  const tries = `${log.attempts} ${log.attempts === 1 ? "attempt" : "attempts"}`;
  const next = log.next_attempt_at ? `next ${moment(log.next_attempt_at)}` : "";
  return [moment(log.created_at), tries, log.response_status ? `HTTP ${log.response_status}` : "", next]
    .filter(Boolean)
    .join(" · ");
}

/** Wait until a delivery that is sent again has been tried: while its page is shown, and for a while at most. */
async function settled({ delivery_id: id, attempts }, { read, shown }) {
  for (let look = 0; look < LOOKS && shown(); look += 1) {
    const log = (await read()).find(({ delivery_id: one }) => one === id);
    if (!log || (log.attempts > attempts && (log.status !== "PENDING" || log.error))) return;
    await pause();
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE));
