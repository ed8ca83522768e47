/** Requests on their way: told by the server's events, or polled where there is no stream. */
import { call, get, Refused, read, sleep } from "./api.js";
import { events } from "./events.js";

/**
 * Streams of a page. A browser keeps six connections to a server, for all tabs together: two pages side by side leave
 * it some, and one that is not seen needs none.
 */
const STREAMS = 2;
/** Milliseconds between polls; of a page that is not seen. */
const [PAUSE, PAUSE_UNSEEN] = [700, 3000];
const OVER = new Set(["completed", "failed"]);

/**
 * Queue a request → its id, and what the server warns of, if it does; throws Refused. Sent again with the same `key`,
 * it is still one request.
 * @param {string} slug
 * @param {Values} body
 * @param {string} key
 */
export async function submit(slug, body, key) {
  const answer = await call(`/v2/${slug}`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", "idempotency-key": key },
  });
  const { request_id: id } = /** @type {{request_id: string}} */ (await read(answer));
  return { id, warning: answer.headers.get("x-warning") };
}

/**
 * A request that is followed.
 * @typedef {object} Followed
 * @property {string} id
 * @property {Tell} tell
 * @property {(result: Api.Result) => void} end
 * @property {(error: unknown) => void} fail
 * @property {AbortController | null} stream while it has one
 * @property {boolean} polled whether its stream broke off
 */

/** Follows requests to their ends: the oldest by streams, the others by one poll that goes round. */
export class Watch {
  constructor() {
    /** @type {Map<string, Followed>} */
    this.followed = new Map();
    this.polling = false;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) for (const { stream } of this.followed.values()) stream?.abort();
      else this.tend();
    });
  }

  /**
   * Follow a request → its result; throws Refused, with 404 where its record has expired.
   * @param {string} id
   * @param {Tell} tell
   * @returns {Promise<Api.Result>}
   */
  follow(id, tell) {
    return new Promise((end, fail) => {
      this.followed.set(id, { id, tell, end, fail, stream: null, polled: false });
      this.tend();
    });
  }

  /** Follow nothing any more; what was followed is neither ended nor failed. */
  stop() {
    const all = [...this.followed.values()];
    this.followed.clear();
    for (const { stream } of all) stream?.abort();
  }

  /** Give the oldest a stream, and have the others polled. */
  tend() {
    const all = [...this.followed.values()];
    const free = document.hidden ? 0 : STREAMS - all.filter(({ stream }) => stream).length;
    for (const one of all.filter(({ stream, polled }) => !stream && !polled).slice(0, free)) this.stream(one);
    if (!this.polling) this.poll();
  }

  /** @param {Followed} one */
  async stream(one) {
    const stream = new AbortController();
    one.stream = stream;
    try {
      const answer = await call(`/v2/requests/${one.id}/events`, { signal: stream.signal });
      if (answer.ok && answer.body)
        for await (const { event, data } of events(answer.body)) {
          if (OVER.has(event)) this.end(one, /** @type {Api.Result} */ (data));
          else one.tell(event, data);
        }
      one.polled = true;
    } catch (error) {
      // A stream that broke off: the request goes on, and can still be asked for.
      if (statusOf(error) === 401) this.lock(error);
      one.polled = !stream.signal.aborted;
    }
    one.stream = null;
    this.tend();
  }

  /** Go round those without a stream, until there are none. */
  async poll() {
    this.polling = true;
    for (;;) {
      const waiting = [...this.followed.values()].filter(({ stream }) => !stream);
      if (!waiting.length) break;
      for (const one of waiting) if (this.followed.get(one.id) === one && !(await this.ask(one))) break;
      await sleep(document.hidden ? PAUSE_UNSEEN : PAUSE);
    }
    this.polling = false;
  }

  /**
   * Ask how a request stands → whether the server, or its database, is there: the request is kept, and goes on.
   * @param {Followed} one
   */
  async ask(one) {
    try {
      const answer = await call(`/v2/requests/${one.id}/status`);
      if (answer.status >= 500) throw new Refused(0, {});
      const status = await answer.json();
      if (status.status === "COMPLETED") this.end(one, await get(`/v2/requests/${one.id}`));
      else if (status.status === "FAILED") this.end(one, status);
      else if (!answer.ok) this.fail(one, new Refused(answer.status, status));
      else one.tell(status.status === "QUEUED" ? "queued" : "progress", status);
    } catch (error) {
      if (statusOf(error) === 401) this.lock(error);
      else if (statusOf(error)) this.fail(one, error);
      else for (const each of this.followed.values()) if (!each.stream) each.tell("away", {});
      return Boolean(statusOf(error));
    }
    return true;
  }

  /**
   * @param {Followed} one
   * @param {Api.Result} result
   */
  end(one, result) {
    this.followed.delete(one.id);
    one.end(result);
  }

  /**
   * None can be followed without a key: it is asked for once.
   * @param {unknown} error
   */
  lock(error) {
    for (const one of [...this.followed.values()]) this.fail(one, error);
  }

  /**
   * @param {Followed} one
   * @param {unknown} error
   */
  fail(one, error) {
    this.followed.delete(one.id);
    one.fail(error);
  }
}

/**
 * The HTTP status of a refusal; 0 where there was no answer.
 * @param {unknown} error
 */
export const statusOf = (error) => (error instanceof Refused ? error.status : 0);
