/** How the queue and the workers stand, and what can be done about it. */
import { confirm } from "./dialog.js";
import { h } from "./dom.js";
import { brief, bytes, duration, timeOf } from "./words.js";

/** What the words for a worker's state mean. */
const STATES = {
  working: "It has requests in hand.",
  idle: "It waits for requests.",
  paused: "It takes nothing while its storage of pictures can't be used, and goes on by itself.",
  draining: "It takes nothing more, and leaves when it has ended what it has.",
  drained: "It has left; its place stays empty until it is recalled.",
  silent: "It gave no sign of life lately: it died, or its machine is away.",
};

/** Requests in hand that a worker's card shows: a full batch of small pictures would fill the screen. */
const MOST_RUNS = 6;

/** Facts of a worker that take the room of two. */
const BROAD = new Set(["Weights", "Device memory", "Models loaded"]);

/** The queue's figures, with the lever; `act` asks the server for something and tells of it, null where nothing may be done. */
export function queueFacts({ queue, workers }, act) {
  const alive = workers.filter(({ state }) => ["working", "idle"].includes(state)).length;
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
      act && (queue.paused ? resumeButton(act) : pauseButton(act)),
      h(
        "p.hint",
        {},
        queue.paused
          ? `Paused since ${timeOf(queue.paused_at)}. Nothing is begun; what runs goes on, and what is asked waits.`
          : alive
            ? ""
            : "No worker takes requests: what is asked waits until one does.",
      ),
    ),
  ];
}

function pauseButton(act) {
  const words =
    "Workers take nothing more. What runs goes on to its end, and new requests are accepted and wait, also over a restart. Test keys notice nothing.";
  const go = () => act("queue/pause", "The queue is paused.");
  return h(
    "button",
    { type: "button", id: "lever", onclick: () => confirm("Pause the queue?", words, "Pause the queue", go) },
    "Pause the queue",
  );
}

function resumeButton(act) {
  const words = "Workers take requests again, in the order in which they would have.";
  const go = () => act("queue/resume", "The queue goes on.");
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

/** A card per worker; `act` is as above. */
export function workerCards({ servers, workers, at }, act) {
  return [
    h("h2", {}, "Workers"),
    ...(servers.length ? [h("p.hint", { id: "servers" }, `Servers: ${servers.map(serverWords).join(", ")}`)] : []),
    workers.length
      ? h(
          "ul.workers",
          {},
          workers.map((worker) => card(worker, at, act)),
        )
      : h(
          "p.hint",
          {},
          "No worker is known. `tintype serve` starts one per device; `tintype worker` starts one by hand. It takes some seconds to appear here.",
        ),
  ];
}

const serverWords = ({ id, version, state }) => `${id} (tintype ${version}, ${state})`;

function card(worker, at, act) {
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
    h(
      "p.hint",
      {},
      ["working", "idle"].includes(state)
        ? ""
        : state === "paused"
          ? `${STATES[state]} Now: ${worker.paused}.`
          : STATES[state],
    ),
    act && lever(worker, gone, act),
  );
}

function lever({ id, state, drain_at: drained }, gone, act) {
  if (drained) return recallButton(id, state, act);
  return gone ? null : drainButton(id, act);
}

function running({ runs }) {
  if (!runs.length) return h("p.hint.runs", {}, "Nothing in hand.");
  const more = runs.length - MOST_RUNS;
  return h(
    "ul.runs",
    { "aria-label": "Requests in hand" },
    runs.slice(0, MOST_RUNS).map((run) =>
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

/** Of a worker that is no more. */
const lastFacts = ({ version, device, seen_at: seen }) => [
  ["Version", version || "unknown"],
  ["Device", device],
  ["Last seen", timeOf(seen)],
];

function facts(
  {
    version,
    device,
    rows,
    max_rows: most,
    step_seconds: seconds,
    memory,
    models,
    cold_starts: starts,
    cold_seconds: cold,
    started_at: started,
  },
  at,
) {
  const own = memory.process === undefined ? "unknown" : bytes(memory.process);
  return [
    ["Version", version || "unknown"],
    ["Device", device],
    ["Batch fill", rows === null ? "no step yet" : `${Number(rows.toPrecision(2))} of ${most} rows`],
    ["Step", seconds === null ? "no step yet" : brief(seconds)],
    ["Memory", own],
    ...(memory.budget ? [["Weights", `${bytes(memory.weights)}; they and work may take ${bytes(memory.budget)}`]] : []),
    ...(memory.total
      ? [
          [
            "Device memory",
            `${bytes(memory.reserved)} of ${bytes(memory.total)}, ${bytes(memory.allocated)} of it in use`,
          ],
        ]
      : []),
    ["Models loaded", models.length ? models.join(", ") : "none yet"],
    ["Cold starts", starts ? `${starts}, ${brief(cold)} in all` : "none yet"],
    ["Up for", duration(Math.max(0, (Date.parse(at) - Date.parse(started)) / 1000))],
  ];
}

function drainButton(id, act) {
  const words = `${id} takes nothing more, ends what it has, and leaves. Its place stays empty until you recall it.`;
  const go = () => act(place(id, "drain"), `${id} drains.`);
  return workerLever(id, "Drain", () => confirm("Drain this worker?", words, "Drain the worker", go));
}

function recallButton(id, state, act) {
  const when = state === "drained" ? "" : " as soon as it has left";
  const words = `The server that started ${id} starts a fresh worker in its place${when}. One that was started by hand must be started by hand again.`;
  const go = () => act(place(id, "recall"), `The place of ${id} is filled again.`);
  return workerLever(id, "Recall", () => confirm("Fill its place again?", words, "Recall", go, "primary"));
}

const workerLever = (id, verb, onclick) =>
  h("button", { type: "button", id: `lever-${id}`, onclick }, verb, h("span.unseen", {}, ` ${id}`));

const place = (id, verb) => `workers/${encodeURIComponent(id)}/${verb}`;
