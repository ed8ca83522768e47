/** How far a request is: a bar, the words for it, and the picture as it comes out of the noise. */
import { fill, h } from "./dom.js";
import { duration } from "./words.js";

/**
 * A view with `element`, `stopping()` and `tell(event, data)` for `count` pictures; each sharpens like a plate in its
 * bath.
 * @param {number} count
 * @param {() => void} cancel
 */
export function createProgress(count, cancel) {
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
  const words = h("p.state", { role: "status", "aria-live": "polite" }, "Sending …");
  const plates = [...Array(count).keys()].map(() => h("div.plate.developing"));
  // Above the plates, where the first screen ends before they do.
  const stop = createStop(cancel);
  const meter = h("div.meter", {}, bar, words, stop.element);
  const element = h("div.progress", {}, meter, h("div.developing-plates", { "data-count": count }, plates));
  return {
    element,
    stopping: stop.stopping,
    /** @type {Tell} */
    tell(event, data) {
      if ("image" in data) {
        show(plates[data.picture], data, count > 1 ? `Preview of picture ${data.picture + 1}` : "Preview");
        return;
      }
      bar.value = data.progress ?? bar.value;
      for (const plate of plates) plate.style.setProperty("--done", String(bar.value));
      words.textContent = said(event, data);
    },
  };
}

/**
 * The button that cancels: its `element`, and `stopping()` once it was pressed, which a worker may hear seconds later.
 * @param {() => void} cancel
 */
export function createStop(cancel) {
  const element = h("button.quiet", { type: "button", onclick: cancel }, "Cancel", h("kbd", {}, "Esc"));
  return { element, stopping: () => fill(element, "Cancelling …") };
}

/**
 * @param {HTMLElement} plate
 * @param {Api.Preview} preview
 * @param {string} words
 */
function show(plate, { image, finished }, words) {
  const old = plate.querySelector("img");
  if (old) old.src = image;
  else fill(plate, h("img", { src: image, alt: words }));
  // What is begun again, on another worker, sharpens again from the start.
  plate.classList.toggle("finished", finished);
}

/**
 * `Step 3 of 20, about 4 s left`.
 * @param {string} event
 * @param {Api.Status} status
 */
export function said(event, { queue_position: place, step, steps, eta }) {
  const left = eta === null || eta === undefined ? "" : `, about ${duration(Math.max(1, Math.round(eta)))} left`;
  if (event === "away") return "The server does not answer. What you asked for is kept; asking again …";
  if (event === "queued")
    return place === 1 ? `Next in the queue${left}` : `Number ${place ?? "?"} in the queue${left}`;
  return step ? `Step ${step} of ${steps}${left}` : `Getting ready${left}`;
}
