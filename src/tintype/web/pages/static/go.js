/** The button that sends the form: what it costs and takes, what is wrong, and whether it would give the same again. */
import { RANDOM } from "./controls/seed.js";
import { fill, h } from "./dom.js";
import { estimate } from "./estimate.js";
import { isTest } from "./key.js";
import { imageCount, nameFor, needed, request } from "./models.js";
import { imagesOf, short, stateOf } from "./plates.js";
import { duration, forPrice } from "./words.js";

/**
 * The button's place: its `element`, and what it says.
 * @param {Model} model
 * @param {{press: () => void, anyway: () => void, other: () => void}} acts `other` is with another seed
 */
export function createGo(model, { press, anyway, other }) {
  const error = h("div.refusal", { role: "alert", hidden: true });
  const words = h("span");
  const facts = h("span.small");
  const again = h(
    "div.repeat",
    { role: "status", hidden: true },
    h("p", {}, "This would give the same image again."),
    h("button", { type: "button", onclick: other }, "New seed"),
    h("button.quiet", { type: "button", onclick: anyway }, "Make it anyway"),
  );
  const button = h(
    "button.primary.go",
    {
      type: "button",
      disabled: Boolean(needed(model)),
      // The second click of a double one is meant for the first.
      onclick: ({ detail }) => detail < 2 && press(),
    },
    words,
    facts,
  );
  const keys = h("span.row", { "aria-hidden": "true" }, h("kbd", {}, "Ctrl"), h("kbd", {}, "Enter"));
  return {
    element: h("div.actions", {}, error, again, h("div.row", {}, button, keys)),
    /**
     * Say what these values cost, and about how long they take; what was said of others is over.
     * @param {Values} values
     */
    draw(values) {
      again.hidden = true;
      // A test key's requests take their scenario's time.
      const seconds = isTest() ? null : estimate(model, values);
      words.textContent = needed(model) ? "Needs weights" : "Generate";
      const price = forPrice(model, imageCount(model, values), isTest());
      const time = seconds === null ? "" : ` · about ${duration(Math.max(1, Math.round(seconds)))}`;
      facts.textContent = needed(model) ? "" : `${price}${time}`;
    },
    warn() {
      again.hidden = false;
      again.querySelector("button")?.focus();
    },
    /** @param {string} said what is wrong; empty where nothing is */
    tell(said) {
      error.hidden = !said;
      fill(error, h("p", {}, said));
      if (said) error.scrollIntoView({ block: "nearest" });
    },
  };
}

/**
 * Whether these values give an image that is there, or on its way.
 * @param {Model} model
 * @param {Values} values
 * @param {Plate[]} plates
 */
export function repeats(model, values, plates) {
  const seed = values[nameFor(model, "seed")] ?? RANDOM;
  if (seed === RANDOM) return false;
  const text = (/** @type {Values} */ one) => JSON.stringify(Object.entries(request(model, short(one))).map(String));
  const made = plates
    .filter((plate) => !["failed", "cancelled"].includes(stateOf(plate)))
    .flatMap((plate) => [...(plate.varied ? [] : [plate.values]), ...imagesOf(model, plate).map((one) => one.values)]);
  return made.some((one) => text(one) === text(values));
}
