/** An image on its way to the server: shown at once, with how much is sent, and what came of it, in words. */
import { get } from "../api.js";
import { fill, h } from "../dom.js";
import { askUse, settingsIn, useSettings } from "../recipe.js";
import { fit } from "../shrink.js";
import { upload } from "../upload.js";
import { duration } from "../words.js";

/**
 * @param {object} view
 * @param {(url: string) => void} view.show has a file seen before it is sent
 * @param {(path: string) => void} view.put makes an image of the server the input
 * @param {() => void} view.back shows the former input again
 */
export function createSending({ show, put, back }) {
  const note = h("p.hint", { role: "status" });
  const error = h("p.error", { role: "alert" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Sent" });
  const cancel = h("button.quiet", { type: "button", onclick: () => stop("Cancelled.") }, "Cancel");
  const meter = h("div.sending", { hidden: true }, bar, cancel);
  const element = h("div.intake", {}, note, meter, error);
  /** @type {AbortController | null} */
  let work = null;
  /** @type {Promise<void> | null} */
  let pending = null;

  const say = (/** @type {string} */ words) => {
    fill(error);
    note.textContent = words;
  };
  const refuse = (/** @type {string} */ words) => {
    fill(note);
    error.textContent = words;
  };
  const stop = (words = "") => {
    const stopped = work;
    work = null;
    pending = null;
    meter.hidden = true;
    say(words);
    if (!stopped) return;
    stopped.abort(new Error("Cancelled."));
    back();
  };
  const take = async (/** @type {File | Blob} */ file, of = 1) => {
    stop();
    const own = new AbortController();
    work = own;
    const url = URL.createObjectURL(file);
    show(url);
    pending = send(file, url, own.signal, of > 1 ? `The first of ${of} files. ` : "");
    try {
      await pending;
    } catch (reason) {
      if (work === own) {
        stop();
        refuse(/** @type {Error} */ (reason).message);
      }
    } finally {
      URL.revokeObjectURL(url);
    }
  };
  /**
   * @param {File | Blob} file
   * @param {string} url
   * @param {AbortSignal} signal
   * @param {string} words
   */
  const send = async (file, url, signal, words) => {
    const { inputs: limits, kept_seconds: kept } = await get("/about.json");
    const ready = await fit(file, url, limits);
    signal.throwIfAborted();
    const said = await settingsIn(file, limits.max_bytes);
    const choice = said ? await askUse(url, said, true) : "input";
    signal.throwIfAborted();
    if (choice !== "input") {
      stop();
      if (said && choice) useSettings(said);
      return;
    }
    say(`${words}${ready.words} Uploading …`);
    meter.hidden = false;
    bar.value = 0;
    const path = await upload(
      ready.blob,
      (share) => {
        bar.value = share;
        bar.textContent = `${Math.round(100 * share)} %`;
      },
      signal,
    );
    signal.throwIfAborted();
    work = null;
    put(path);
    say(`${words}${ready.words} Uploaded; kept for ${duration(kept.upload)}.`.trim());
  };
  return { element, take, stop, say, refuse, ready: () => pending ?? Promise.resolve() };
}
