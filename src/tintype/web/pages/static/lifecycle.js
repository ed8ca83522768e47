/** A run's lifecycle: it is sent, followed, perhaps cancelled, and ends. What becomes of its plate is queue.js's. */
import { send, sleep } from "./api.js";
import { request } from "./models.js";
import { local } from "./paths.js";
import { unfinished } from "./plates.js";
import { recall } from "./recall.js";
import { statusOf, submit, Watch } from "./watch.js";

const [UNAUTHORIZED, NOT_FOUND, TOO_MANY] = [401, 404, 429];

/**
 * What is told of a run.
 * @typedef {object} RunListener
 * @property {(run: Run) => boolean} wanted asks whether its plate is still there
 * @property {(run: Run) => void} told more is known of it
 * @property {(run: Run) => void} sent the server has it
 * @property {(run: Run) => void} ended
 * @property {(run: Run, error: Refusal) => boolean} refused asks whether that is said elsewhere, and the run not needed
 * @property {(error: Refusal) => void} trouble what else went wrong
 */

export class Lifecycle {
  /**
   * @param {Model} model
   * @param {RunListener} listener
   */
  constructor(model, listener) {
    this.model = model;
    this.listener = listener;
    /**
     * What is known of runs that have not ended, by their keys; not remembered, since the server tells it again.
     * @type {Map<string, Live>}
     */
    this.lives = new Map();
    this.watch = new Watch();
  }

  /** @param {Run} run */
  live({ key }) {
    return this.lives.get(key) ?? null;
  }

  /**
   * It is to be sent as soon as its values are there.
   * @param {Run} run
   */
  begin(run) {
    this.lives.set(run.key, newLive());
  }

  /**
   * Send it, now or when the server takes more, and follow it to its end.
   * @param {Run} run
   * @param {Values} values
   */
  async send(run, values) {
    if (run.state !== "sending" || !this.listener.wanted(run)) return;
    try {
      const { id, warning } = await submit(this.model.slug, request(this.model, values), run.key);
      run.request = id;
      if (warning) run.warnings = [warning];
      if (run.state !== "sending") return this.withdraw(run);
      run.state = "running";
      this.listener.sent(run);
      await this.follow(run);
    } catch (error) {
      const { message, retryAfter = 0 } = /** @type {Refusal} */ (error);
      if (statusOf(error) !== TOO_MANY || !retryAfter) return this.fail(run, error);
      await this.wait(run, retryAfter, message);
      await this.send(run, values);
    }
  }

  /**
   * Wait until the server takes more; what is cancelled meanwhile is not sent.
   * @param {Run} run
   * @param {number} seconds
   * @param {string} error why it doesn't yet
   */
  async wait(run, seconds, error) {
    for (let eta = Math.ceil(seconds); eta > 0 && run.state === "sending"; eta -= 1) {
      this.tell(run, "full", { error, eta });
      await sleep(1000);
    }
  }

  /** @param {Run} run one that the server has */
  async follow(run) {
    const id = run.request ?? "";
    // Another key was given meanwhile: its plates are read again, and followed themselves.
    if (!this.listener.wanted(run)) return;
    if (!this.live(run)) this.begin(run);
    try {
      const result = await this.watch.follow(id, (event, data) => this.tell(run, event, data));
      this.end(run, outcome(result, run));
    } catch (error) {
      if (statusOf(error) === UNAUTHORIZED) this.tell(run, "locked", {});
      else if (statusOf(error) === NOT_FOUND) this.fetch(run, id);
      else this.fail(run, error);
    }
  }

  /**
   * Its record has expired, or it is another account's.
   * @param {Run} run
   * @param {string} id
   */
  async fetch(run, id) {
    try {
      this.end(run, (await recall(id)).run);
    } catch (error) {
      this.fail(run, error);
    }
  }

  /** @param {Run} run one that has not ended */
  cancel(run) {
    const live = this.live(run);
    if (live) live.stopping = true;
    if (run.request) this.withdraw(run, live);
    else this.end(run, { state: "cancelled" });
  }

  /**
   * @param {Run} run
   * @param {Live | null} live
   */
  async withdraw(run, live = null) {
    try {
      await send(`/v2/requests/${run.request}`, undefined, "DELETE");
    } catch (error) {
      if (live) live.stopping = false;
      this.listener.trouble(/** @type {Refusal} */ (error));
    }
  }

  /** Follow none any more. */
  stop() {
    this.watch.stop();
    this.lives.clear();
  }

  /**
   * @param {Run} run
   * @param {string} event
   * @param {Api.Status | Api.Preview} data
   */
  tell(run, event, data) {
    const live = this.live(run);
    if (!live || !this.listener.wanted(run)) return;
    if ("image" in data) live.previews.set(data.picture, data);
    else Object.assign(live, { event, status: data });
    this.listener.told(run);
  }

  /**
   * @param {Run} run
   * @param {unknown} error
   */
  fail(run, error) {
    const refusal = /** @type {Refusal} */ (error);
    if (!run.request && this.listener.refused(run, refusal)) return;
    const { message, advice, status } = refusal;
    // With no answer the server may have it: sent again under the same key, it is still one request.
    const unsure = (!run.request && status !== undefined && (status === 0 || status >= 500)) || undefined;
    this.end(run, { state: "failed", error: message, advice, unsure });
  }

  /**
   * @param {Run} run
   * @param {Partial<Run>} how
   */
  end(run, how) {
    if (!unfinished(run) || !this.listener.wanted(run)) return;
    Object.assign(run, how);
    this.lives.delete(run.key);
    this.listener.ended(run);
  }
}

/** @returns {Live} */
const newLive = () => ({ event: "sending", status: {}, previews: new Map(), stopping: false });

/**
 * @param {Api.Result} result
 * @param {Run} run
 * @returns {Partial<Run>}
 */
function outcome({ status, error, error_description: advice, images, metrics, warnings = [] }, run) {
  if (status === "FAILED") return { state: error === "cancelled" ? "cancelled" : "failed", error, advice };
  const files = images.map(({ url, file_name: name, seed }) => ({ url: local(url), name, seed }));
  return { state: "done", images: files, metrics, warnings: [...(run.warnings ?? []), ...warnings] };
}
