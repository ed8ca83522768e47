/** Files that are stored on the server, with the share that is sent told meanwhile. */
import { call, Refused, read } from "./api.js";
import { at, local } from "./paths.js";

/**
 * Store an image → its path on the server. Throws Refused, and AbortError where it was called off.
 * @param {Blob} blob
 * @param {(share: number) => void} [tell] how much is sent, 0 to 1
 * @param {AbortSignal} [signal]
 */
export async function upload(blob, tell = () => {}, signal) {
  const body = new FormData();
  body.append("data_urls", blob, "image");
  const reach = (/** @type {string} */ path, /** @type {Sending} */ options) => sent(path, options, tell, signal);
  const answer = await call("/upload-asset", { method: "POST", body }, reach);
  try {
    const { file_urls: urls } = /** @type {Api.Uploaded} */ (await read(answer));
    return local(urls[0]);
  } catch (error) {
    throw inWords(error);
  }
}

/**
 * Without the name of the parameter, which nobody has seen here.
 * @param {unknown} error
 */
function inWords(error) {
  if (error instanceof Refused) {
    const words = error.message.replace(/^data_urls\[\d+\]: /, "").replace(/^not a /, "this file is not a ");
    error.message = `${words[0].toUpperCase()}${words.slice(1)}${words.endsWith(".") ? "" : "."}`;
  }
  return error;
}

/**
 * As `fetch`, which doesn't say how much it has sent.
 * @param {string} path
 * @param {Sending} options
 * @param {(share: number) => void} tell
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
function sent(path, { method = "POST", headers, body }, tell, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const request = new XMLHttpRequest();
    request.open(method, at(path));
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => tell(total ? loaded / total : 0);
    request.onload = () => resolve(answerOf(request));
    request.onerror = () => reject(new Error("The server does not answer, or has hung up."));
    request.onabort = () => reject(signal?.reason);
    signal?.addEventListener("abort", () => request.abort());
    request.send(/** @type {FormData} */ (body));
  });
}

/** @param {XMLHttpRequest} request */
function answerOf(request) {
  const lines = request.getAllResponseHeaders().trim().split(/\r?\n/);
  const headers = lines.map((line) => /** @type {[string, string]} */ (line.split(/:\s*(.*)/s, 2)));
  return new Response(request.responseText, { status: request.status, headers });
}

/**
 * The file that a data URL is; null where it is none.
 * @param {string} url
 */
export function blobOf(url) {
  const [head, data] = url.split(",", 2);
  try {
    const bytes = head.endsWith(";base64") ? atob(decodeURIComponent(data)) : decodeURIComponent(data);
    const type = head.slice("data:".length).split(";")[0];
    return new Blob([Uint8Array.from(bytes, (letter) => letter.charCodeAt(0))], { type });
  } catch {
    return null;
  }
}
