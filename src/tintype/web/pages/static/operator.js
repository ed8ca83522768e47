/** The operator's page: the queue, the workers, and how the server did; it keeps itself fresh while it is seen. */
import { get, send, sleep } from "./api.js";
import { fill, h } from "./dom.js";
import { drawHeader, main } from "./header.js";
import { currentKey, forgetKey } from "./key.js";
import { drawPlots } from "./operator-plots.js";
import { drawAudit, drawUse } from "./operator-records.js";
import { queueFacts, workerCards } from "./operator-state.js";

/** Milliseconds between polls of the queue and the workers, and of the figures of the last hours. */
const [OFTEN, SELDOM] = [2_500, 10_000];

/** @typedef {import("./operator-state.js").Operate} Operate */

/** The number of the page's present drawing: one with a former key must not go on. */
let drawing = 0;

async function start() {
  drawHeader();
  document.addEventListener("tintype:key", () => show().catch(failed));
  await show();
}

async function show() {
  drawing += 1;
  const mine = drawing;
  fill(main, h("div.title", {}, h("h1", {}, "Operator")));
  const [first, { api_key: key }] = await Promise.all([get("/v2/operator"), get("/api/auth/authenticate")]);
  if (mine !== drawing) return;
  const [news, late] = [h("p.hint.news", { role: "status" }), h("p.error.news", { role: "alert" })];
  const [queue, workers, plots] = [
    h("section.panel", { "aria-label": "Queue" }),
    h("section.panel"),
    h("section.panel"),
  ];
  // A key that may only read sees nothing of accounts.
  const [use, acts] = key.read_only ? [null, null] : [h("section.panel.records"), h("section.panel.records")];
  fill(
    main,
    h(
      "div.title",
      {},
      h("h1", {}, "Operator"),
      h("p.lead", {}, "The queue, the workers and the last hours of this server."),
    ),
    news,
    late,
    queue,
    workers,
    plots,
    use,
    acts,
  );
  const draw = (/** @type {Api.Overview} */ overview) =>
    keepingFocus(() => {
      // A key that may only read is for a screen on the wall: there is nothing to press.
      fill(queue, queueFacts(overview, key.read_only ? null : operate));
      fill(workers, workerCards(overview, key.read_only ? null : operate));
    });
  const look = async () => draw(await get("/v2/operator"));
  /** @type {Operate} */
  const operate = async (lever, words) => {
    await send(`/v2/operator/${lever}`);
    news.textContent = words;
    await Promise.all([look(), acts && drawAudit(acts)]);
  };
  draw(first);
  if (use && acts)
    Promise.all([drawUse(use), drawAudit(acts)]).catch((error) => {
      late.textContent = error.message;
    });
  const wanted = () => mine === drawing;
  poll(look, OFTEN, late, wanted);
  poll(drawPlots(plots), SELDOM, late, wanted);
}

/**
 * Poll while this drawing of the page is wanted and seen; what goes wrong is told until a poll goes well.
 * @param {() => Promise<void>} look
 * @param {number} pause milliseconds
 * @param {HTMLElement} late
 * @param {() => boolean} wanted
 */
async function poll(look, pause, late, wanted) {
  for (; wanted(); await sleep(pause)) {
    if (document.hidden) continue;
    try {
      await look();
      late.textContent = "";
    } catch (caught) {
      const error = /** @type {Refusal} */ (caught);
      if (!wanted()) return;
      if (error.status === 401 || error.status === 403) return failed(error);
      late.textContent = `${error.message} What is shown may be old.`;
    }
  }
}

/**
 * A button that is drawn again while it has the focus keeps it.
 * @param {() => void} draw
 */
function keepingFocus(draw) {
  const id = document.activeElement?.id;
  draw();
  if (id && document.activeElement?.id !== id) document.getElementById(id)?.focus({ preventScroll: true });
}

/** @param {Refusal} error */
function failed(error) {
  drawing += 1;
  const words = currentKey() ? "Use another key" : "Enter key";
  // To forget a key draws the page again, which asks for one.
  fill(
    main,
    h(
      "div.lone",
      {},
      h("h1", {}, "Operator"),
      h("p", { role: "alert" }, error.message),
      h("p.hint", {}, error.advice ?? ""),
      h("button.primary", { type: "button", onclick: () => forgetKey() }, words),
    ),
  );
}

start().catch(failed);
