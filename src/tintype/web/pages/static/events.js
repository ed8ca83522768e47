/** Server-sent events, read with `fetch`: EventSource sends no key. */

/**
 * Server-sent events out of a stream of bytes.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 */
export async function* events(body) {
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
