/** How far a request is: a bar, the words for it, and the image as it comes out of the noise. */

import { fill, h } from "./dom.js";
import { stepsInWords } from "./estimate.js";
import { countOf, valuesOf } from "./plates.js";
import { duration } from "./words.js";

/**
 * A view of a plate that runs: its `element`, and `update()`; each image sharpens like a plate in its bath.
 * @param {Model} model
 * @param {Plate} plate
 * @param {() => Live | null} live
 * @param {() => void} cancel
 */
export function createProgress(model, plate, live, cancel) {
  const count = countOf(model, plate);
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
  const words = h("p.state", { role: "status", "aria-live": "polite" }, "Sending …");
  const why = h("p.hint");
  const plates = [...Array(count).keys()].map(() => h("div.plate.developing"));
  // Above the plates, where the first screen ends before they do.
  const stop = createStop(cancel);
  const meter = h("div.meter", {}, bar, words, stop.element, why);
  const element = h("div.progress", {}, meter, h("div.plates", { "data-count": count }, plates));
  const update = () => {
    const now = live();
    if (!now) return;
    bar.value = now.status.progress ?? bar.value;
    words.textContent = said(now.event, now.status);
    why.textContent = now.status.step ? stepsInWords(model, valuesOf(plate, plate.runs[0])) : loads(model, now.event);
    stop.stopping(now.stopping);
    for (const plate of plates) plate.style.setProperty("--done", String(bar.value));
    for (const [place, preview] of now.previews)
      show(plates[place], preview, count > 1 ? `Preview of image ${place + 1}` : "Preview");
  };
  return { element, update };
}

/**
 * Why a model's first image takes a while to begin.
 * @param {Model} model
 * @param {string} event
 */
const loads = ({ pace }, event) =>
  ["started", "progress"].includes(event) && !Object.keys(pace.seconds).length
    ? "A model's first image takes longer: its weights are loaded before it."
    : "";

/**
 * The button that cancels: its `element`, and `stopping(whether)` it was pressed, which a worker hears seconds later.
 * @param {() => void} cancel
 */
export function createStop(cancel) {
  const words = h("span", {}, "Cancel");
  const element = h("button.quiet", { type: "button", onclick: cancel }, words, h("kbd", {}, "Esc"));
  /** @param {boolean} pressed */
  const stopping = (pressed) => {
    element.disabled = pressed;
    words.textContent = pressed ? "Cancelling …" : "Cancel";
  };
  return { element, stopping };
}

/**
 * @param {HTMLElement | undefined} plate
 * @param {Api.Preview} preview
 * @param {string} words
 */
function show(plate, { image, finished }, words) {
  if (!plate) return;
  const old = plate.querySelector("img");
  if (!old) fill(plate, h("img", { src: image, alt: words }));
  else if (old.src !== image) old.src = image;
  // What is begun again, on another worker, sharpens again from the start.
  plate.classList.toggle("finished", finished);
}

/** Why nobody can work on it, in words; what is asked for is kept, and can be cancelled for nothing. */
const OBSTACLES = {
  resume: "The operator has paused the queue; your request waits until it goes on.",
  worker:
    "No worker is running at the moment; your request waits until one is. " +
    "Just after the server's start, that takes some seconds.",
};
/** @type {Record<string, string>} */
const SAID = {
  sending: "Sending …",
  away: "The server does not answer. What you asked for is kept; asking again …",
  locked: "It goes on. To follow it, enter the key again.",
};

/**
 * `Step 3 of 20, about 4 s left`.
 * @param {string} event
 * @param {Api.Status} status
 */
export function said(event, { queue_position: place, step, steps, eta, error, waiting_for: obstacle }) {
  if (SAID[event]) return SAID[event];
  // The server's own seconds stand still; these are counted down.
  if (event === "full") return `${error?.replace(/ Retry in .*$/, "")} It is sent in ${duration(eta ?? 0)}.`;
  const left = eta === null || eta === undefined ? "" : `, about ${duration(Math.max(1, Math.round(eta)))} left`;
  if (event === "queued") {
    const where = place === 1 ? "Next in the queue" : `Number ${place ?? "?"} in the queue`;
    return obstacle ? `${where}. ${OBSTACLES[obstacle]}` : `${where}${left}`;
  }
  return step ? `Step ${step} of ${steps}${left}` : `Getting ready${left}`;
}

/**
 * The same for the narrow plates of the shelf: `3 of 20`.
 * @param {string} event
 * @param {Api.Status} status
 */
export function brief(event, { queue_position: place, step, steps, eta, waiting_for: obstacle }) {
  if (event === "sending") return "Sending …";
  if (event === "away") return "No answer";
  if (event === "locked") return "Needs the key";
  if (event === "full") return `Sent in ${duration(eta ?? 0)}`;
  if (event === "queued") return obstacle === "resume" ? "Paused" : obstacle ? "No worker" : `Waits, ${ordinal(place)}`;
  return step ? `Step ${step} of ${steps}` : "Getting ready";
}

/** @param {number | null | undefined} place */
const ordinal = (place) => (place === 1 ? "next" : `number ${place ?? "?"}`);
