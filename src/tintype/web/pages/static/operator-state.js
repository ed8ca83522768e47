/** How the queue and the workers stand, and what can be done about it. */
import { timeOf } from "./dates.js";
import { confirm } from "./dialog.js";
import { h } from "./dom.js";
import { brief, bytes, duration } from "./words.js";

/** What the words for a worker's state mean. */
const STATES = {
  working: "It runs requests.",
  idle: "It waits for requests.",
  paused: "It takes nothing while its storage of images can't be used, and goes on by itself.",
  draining: "It takes nothing more, and leaves when it has ended what it has.",
  drained: "It has left; its place stays empty until it is recalled.",
  silent: "It gave no sign of life lately: it died, or its machine is away.",
};

/** Running requests that a worker's card shows: a full batch of small images would fill the screen. */
const MAX_RUNS = 6;

/** Facts of a worker that take the room of two. */
const BROAD = new Set(["Weights", "Device memory", "Models loaded"]);

/**
 * Asks the server for something below /v2/operator, says the words, and shows the new state; throws Refused.
 * @typedef {(path: string, words: string) => Promise<void>} Operate
 * A name and a value.
 * @typedef {[name: string, value: string]} Fact
 */

/**
 * The queue's figures, with the lever.
 * @param {Api.Overview} overview
 * @param {Operate | null} operate null where nothing may be done
 */
export function queueFacts({ queue, workers }, operate) {
  const alive = workers.filter(({ state }) => ["working", "idle"].includes(state)).length;
  /** @type {Fact[]} */
  const facts = [
    ["Queue", queue.paused ? "paused" : "open"],
    ["Waiting", queue.queued.toLocaleString("en")],
    ["Running", queue.running.toLocaleString("en")],
    ["Longest wait", queue.oldest_seconds === null ? "none" : duration(queue.oldest_seconds)],
    ["Workers", String(alive)],
  ];
  return [
    h(
      "dl.purse-facts",
      {},
      facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd.large", {}, value))),
    ),
    h(
      "div.row.lever",
      {},
      operate && (queue.paused ? resumeButton(operate) : pauseButton(operate)),
      h("p.hint", {}, queueWords(queue, alive)),
    ),
  ];
}

/**
 * @param {Api.Queue} queue
 * @param {number} alive workers that take requests
 */
function queueWords({ paused_at: since }, alive) {
  if (since) return `Paused since ${timeOf(since)}. Nothing is begun; what runs goes on, and what is asked waits.`;
  return alive ? "" : "No worker takes requests: what is asked waits until one does.";
}

/** @param {Operate} operate */
function pauseButton(operate) {
  const words =
    "Workers take nothing more. What runs goes on to its end, and new requests are accepted and wait, " +
    "also over a restart. Test keys notice nothing.";
  const go = () => operate("queue/pause", "The queue is paused.");
  return h(
    "button",
    { type: "button", id: "lever", onclick: () => confirm("Pause the queue?", words, "Pause the queue", go) },
    "Pause the queue",
  );
}

/** @param {Operate} operate */
function resumeButton(operate) {
  const words = "Workers take requests again, in the order in which they would have.";
  const go = () => operate("queue/resume", "The queue goes on.");
  return h(
    "button.primary",
    {
      type: "button",
      id: "lever",
      onclick: () => confirm("Let the queue go on?", words, "Resume the queue", go, "primary"),
    },
    "Resume the queue",
  );
}

/**
 * A card per worker.
 * @param {Api.Overview} overview
 * @param {Operate | null} operate null where nothing may be done
 */
export function workerCards({ servers, workers, at }, operate) {
  return [
    h("h2", {}, "Workers"),
    ...(servers.length ? [h("p.hint", { id: "servers" }, `Servers: ${servers.map(serverWords).join(", ")}`)] : []),
    workers.length
      ? h(
          "ul.workers",
          {},
          workers.map((worker) => card(worker, at, operate)),
        )
      : h("p.hint", {}, NO_WORKER),
  ];
}

const NO_WORKER =
  "No worker is known. “tintype serve” starts one per device, “tintype worker” one by hand. " +
  "It takes some seconds to appear here.";

/** @param {Api.Overview["servers"][number]} server */
const serverWords = ({ id, version, state }) => `${id} (tintype ${version}, ${state})`;

/**
 * @param {Api.Worker} worker
 * @param {Api.Moment} at the overview's time
 * @param {Operate | null} operate
 */
function card(worker, at, operate) {
  const { id, state } = worker;
  const gone = state === "drained" || state === "silent";
  return h(
    "li.worker",
    { "data-state": state },
    h("div.worker-head", {}, h("h3", {}, id), h("span.state-mark", { title: STATES[state] }, state)),
    h(
      "dl.worker-facts",
      {},
      (gone ? lastFacts(worker) : facts(worker, at)).map(([name, value]) =>
        h(BROAD.has(name) ? "div.broad" : "div", {}, h("dt", {}, name), h("dd", {}, value)),
      ),
    ),
    gone ? null : running(worker),
    h("p.hint", {}, stateWords(worker)),
    operate && lever(worker, gone, operate),
  );
}

/** @param {Api.Worker} worker */
function stateWords({ state, paused }) {
  if (state === "working" || state === "idle") return "";
  return state === "paused" ? `${STATES.paused} Now: ${paused}.` : STATES[state];
}

/**
 * @param {Api.Worker} worker
 * @param {boolean} gone
 * @param {Operate} operate
 */
function lever({ id, state, drain_at: drained }, gone, operate) {
  if (drained) return recallButton(id, state, operate);
  return gone ? null : drainButton(id, operate);
}

/** @param {Api.Worker} worker */
function running({ runs }) {
  if (!runs.length) return h("p.hint.runs", {}, "No requests.");
  const more = runs.length - MAX_RUNS;
  return h(
    "ul.runs",
    { "aria-label": "Running requests" },
    runs.slice(0, MAX_RUNS).map((run) =>
      h(
        "li",
        {},
        h("span", {}, run.model, run.pictures > 1 ? ` × ${run.pictures}` : ""),
        h("code", { title: run.request_id }, run.request_id.slice(0, 8)),
        h("progress", {
          max: Math.max(1, run.steps),
          value: run.step,
          "aria-label": `Steps of request ${run.request_id.slice(0, 8)}`,
        }),
        h("span.hint", {}, `${run.step} of ${run.steps}`),
      ),
    ),
    more > 0 ? h("li.hint", {}, `and ${more} more`) : null,
  );
}

/**
 * Of a worker that is no more.
 * @param {Api.Worker} worker
 * @returns {Fact[]}
 */
const lastFacts = ({ version, device, seen_at: seen }) => [
  ["Version", version || "unknown"],
  ["Device", device],
  ["Last seen", timeOf(seen)],
];

/**
 * @param {Api.Worker} worker
 * @param {Api.Moment} at
 * @returns {Fact[]}
 */
function facts(worker, at) {
  const { rows, step_seconds: seconds, models, cold_starts: starts, started_at: started } = worker;
  return [
    ["Version", worker.version || "unknown"],
    ["Device", worker.device],
    ["Batch fill", rows === null ? "no step yet" : `${Number(rows.toPrecision(2))} of ${worker.max_rows} rows`],
    ["Step", seconds === null ? "no step yet" : brief(seconds)],
    ...memoryFacts(worker),
    ["Models loaded", models.length ? models.join(", ") : "none yet"],
    ["Cold starts", starts ? `${starts}, ${brief(worker.cold_seconds)} in all` : "none yet"],
    ["Up for", duration(Math.max(0, (Date.parse(at) - Date.parse(started)) / 1000))],
  ];
}

/**
 * @param {Api.Worker} worker
 * @returns {Fact[]}
 */
function memoryFacts({ memory: { process, weights, budget, reserved, allocated, total } }) {
  /** @type {Fact[]} */
  const found = [["Memory", process === undefined ? "unknown" : bytes(process)]];
  if (budget) found.push(["Weights", `${bytes(weights)}; they and work may take ${bytes(budget)}`]);
  if (total) found.push(["Device memory", `${bytes(reserved)} of ${bytes(total)}, ${bytes(allocated)} of it in use`]);
  return found;
}

/**
 * @param {string} id
 * @param {Operate} operate
 */
function drainButton(id, operate) {
  const words = `${id} takes nothing more, ends what it has, and leaves. Its place stays empty until you recall it.`;
  const go = () => operate(place(id, "drain"), `${id} drains.`);
  return workerLever(id, "Drain", () => confirm("Drain this worker?", words, "Drain the worker", go));
}

/**
 * @param {string} id
 * @param {Api.WorkerState} state
 * @param {Operate} operate
 */
function recallButton(id, state, operate) {
  const when = state === "drained" ? "" : " as soon as it has left";
  const words =
    `The server that started ${id} starts a fresh worker in its place${when}. ` +
    "One that was started by hand must be started by hand again.";
  const go = () => operate(place(id, "recall"), `The place of ${id} is filled again.`);
  return workerLever(id, "Recall", () => confirm("Fill its place again?", words, "Recall", go, "primary"));
}

/**
 * @param {string} id
 * @param {string} verb
 * @param {() => void} onclick
 */
const workerLever = (id, verb, onclick) =>
  h("button", { type: "button", id: `lever-${id}`, onclick }, verb, h("span.unseen", {}, ` ${id}`));

/**
 * @param {string} id
 * @param {"drain" | "recall"} verb
 */
const place = (id, verb) => `workers/${encodeURIComponent(id)}/${verb}`;
