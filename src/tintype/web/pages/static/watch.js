/** A request on its way: told by the server's events, or asked for where a stream can't be had. */
import { call, get, read } from "./api.js";

/** Milliseconds between questions where there is no stream. */
const PAUSE = 700;
const OVER = new Set(["completed", "failed"]);

/** Queue a request → its id, and what the server warns of, if it does; throws Refused. */
export async function submit(slug, body) {
  const answer = await call(`/v2/${slug}`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });
  const { request_id: id } = await read(answer);
  return { id, warning: answer.headers.get("x-warning") };
}

/**
 * Follow a request to its end → its result's JSON (`status` COMPLETED or FAILED).
 * `tell(event, data)` hears queued, started, progress, preview, and away while the server does not answer. The browser's own EventSource can't send the key.
 */
export async function watch(id, tell) {
  try {
    for await (const { event, data } of stream(id)) {
      if (OVER.has(event)) return data;
      tell(event, data);
    }
  } catch (error) {
    // A stream that can't be had, or broke off: the request goes on, and can still be asked for.
    if (error.status === 401) throw error;
  }
  return poll(id, tell);
}

/** The events of a request; none where the server has told all, or tells none. */
async function* stream(id) {
  const answer = await call(`/v2/requests/${id}/events`);
  if (answer.ok && answer.body) yield* events(answer.body);
}

/** The same by asking again and again: for many requests at once, since browsers keep few streams open. */
export async function poll(id, tell) {
  for (;;) {
    const answer = await asked(id);
    if (!answer) {
      tell("away", {});
      await pause();
      continue;
    }
    const status = await answer.json();
    if (status.status === "COMPLETED") return get(`/v2/requests/${id}`);
    if (status.status === "FAILED" || !answer.ok) return { status: "FAILED", ...status };
    tell(status.status === "QUEUED" ? "queued" : "progress", status);
    await pause();
  }
}

/** What the server answers of a request; null where it, or its database, is away: the request is kept, and goes on. */
async function asked(id) {
  try {
    const answer = await call(`/v2/requests/${id}/status`);
    return answer.status < 500 ? answer : null;
  } catch (error) {
    if (error.status) throw error;
    return null;
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE));

/** Server-sent events out of a stream of bytes. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const whole = text.split("\n\n");
      text = whole.pop();
      yield* whole.map(parsed).filter(({ data }) => data);
    }
  } finally {
    await reader.cancel();
  }
}

function parsed(block) {
  const lines = block.split("\n").map((line) => line.split(/: (.*)/s));
  const { event, data } = Object.fromEntries(lines);
  return { event, data: data && JSON.parse(data) };
}
