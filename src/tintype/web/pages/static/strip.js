/** A strip: the same request over several values of one parameter, side by side. */
import { problem } from "./check.js";
import { drawSeed } from "./controls/seed.js";
import { fill, h, icon } from "./dom.js";
import { isTest } from "./key.js";
import { named, nameFor } from "./models.js";
import { chooseValues } from "./strip-values.js";
import { forPrice, label } from "./words.js";

const VARIED = ["strength", "guidance", "steps", "sampler", "schedule", "seed"];
const [FEWEST, MOST] = [2, 8];

/**
 * The strip's own small form: its `element`.
 * @param {Bench} bench
 */
export function createStrip(bench) {
  const { model } = bench;
  const fields = model.fields.filter(({ means, choices }) => VARIED.includes(means) && choices.length !== 1);
  const which = h(
    "select",
    { "aria-label": "Parameter to vary" },
    fields.map(({ name, means }) => h("option", { value: name }, label(means))),
  );
  const place = h("div.values");
  const error = h("p.error", { role: "alert" });
  const button = h("button", { type: "button", onclick: () => run() }, icon("strip"), "Make the strip");
  /** @type {ReturnType<typeof chooseValues> | null} */
  let chooser = null;
  const chosen = () => fields[which.selectedIndex];
  const read = () => chooser?.read() ?? [];
  const redraw = () => {
    const now = bench.values()[chosen().name];
    chooser = chooseValues(chosen(), now, price);
    fill(place, chooser.element);
    price();
  };
  const price = () => {
    error.textContent = "";
    const count = read().length;
    fill(button, icon("strip"), `Make ${count} ${count === 1 ? "image" : "images"}${forPrice(model, count, isTest())}`);
  };
  const run = () => {
    const values = read();
    const wrong = values.map((value) => problem({ ...chosen(), required: true }, value)).find(Boolean);
    const count = values.length < FEWEST || values.length > MOST ? `Give ${FEWEST} to ${MOST} values.` : "";
    error.textContent = count || wrong || "";
    if (!error.textContent && bench.sound()) bench.strip(chosen(), values);
  };
  which.addEventListener("change", redraw);
  const element = h(
    "details.strip",
    {
      ontoggle: () => {
        if (element.open) redraw();
      },
    },
    h("summary", {}, "Strip: compare several values"),
    h(
      "div.inside",
      {},
      h("p.hint", {}, "The same request with one thing varied, as a contact sheet to download."),
      which,
      place,
      error,
      button,
    ),
  );
  return { element };
}

/**
 * What all the images have in common: one each, and one seed, so that nothing else makes a difference.
 * @param {Model} model
 * @param {Field} field
 * @param {Values} values
 * @returns {Values}
 */
export function fixed(model, field, values) {
  const [seed, count] = [nameFor(model, "seed"), named(model, "count")?.name];
  const drawn = field.name !== seed && values[seed] === -1 ? { [seed]: drawSeed() } : {};
  return { ...values, ...drawn, ...(count && { [count]: 1 }) };
}
