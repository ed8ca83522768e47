/** A request on its way: told by the server's events, or asked for where a stream can't be had. */
import { call, get, Refused, read, sleep } from "./api.js";

/** Milliseconds between polls where there is no stream. */
const PAUSE = 700;
const OVER = new Set(["completed", "failed"]);

/**
 * Queue a request → its id, and what the server warns of, if it does; throws Refused.
 * @param {string} slug
 * @param {Values} body
 */
export async function submit(slug, body) {
  const answer = await call(`/v2/${slug}`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });
  const { request_id: id } = /** @type {{request_id: string}} */ (await read(answer));
  return { id, warning: answer.headers.get("x-warning") };
}

/**
 * Follow a request to its end → its result. The browser's own EventSource can't send the key.
 * @param {string} id
 * @param {Tell} tell
 */
export async function watch(id, tell) {
  try {
    for await (const { event, data } of stream(id)) {
      if (OVER.has(event)) return /** @type {Api.Result} */ (data);
      tell(event, data);
    }
  } catch (error) {
    // A stream that can't be had, or broke off: the request goes on, and can still be asked for.
    if (statusOf(error) === 401) throw error;
  }
  return poll(id, tell);
}

/**
 * The events of a request; none where the server has told all, or tells none.
 * @param {string} id
 */
async function* stream(id) {
  const answer = await call(`/v2/requests/${id}/events`);
  if (answer.ok && answer.body) yield* events(answer.body);
}

/**
 * The same by polling: for many concurrent requests, since browsers keep few streams open.
 * @param {string} id
 * @param {Tell} tell
 * @returns {Promise<Api.Result>}
 */
export async function poll(id, tell) {
  for (;;) {
    const answer = await asked(id);
    if (!answer) {
      tell("away", {});
      await sleep(PAUSE);
      continue;
    }
    const status = await answer.json();
    if (status.status === "COMPLETED") return get(`/v2/requests/${id}`);
    if (status.status === "FAILED" || !answer.ok) return { status: "FAILED", ...status };
    tell(status.status === "QUEUED" ? "queued" : "progress", status);
    await sleep(PAUSE);
  }
}

/**
 * What the server answers of a request; null where it, or its database, is away: the request is kept, and goes on.
 * @param {string} id
 */
async function asked(id) {
  try {
    const answer = await call(`/v2/requests/${id}/status`);
    return answer.status < 500 ? answer : null;
  } catch (error) {
    if (statusOf(error)) throw error;
    return null;
  }
}

/**
 * The HTTP status of a refusal; 0 where there was no answer.
 * @param {unknown} error
 */
const statusOf = (error) => (error instanceof Refused ? error.status : 0);

/**
 * Server-sent events out of a stream of bytes.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const whole = text.split("\n\n");
      text = whole.pop() ?? "";
      yield* whole.map(parsed).filter(({ data }) => data);
    }
  } finally {
    await reader.cancel();
  }
}

/**
 * @param {string} block
 * @returns {{event: string, data: Api.Status | Api.Preview | Api.Result}}
 */
function parsed(block) {
  const lines = block.split("\n").map((line) => line.split(/: (.*)/s));
  const { event, data } = Object.fromEntries(lines);
  return { event, data: data && JSON.parse(data) };
}
