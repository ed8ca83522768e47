/** What a model's stage shows before the first image: its sample, and with what that was made. */
import { h, tool } from "./dom.js";
import { nameFor } from "./models.js";
import { terms, valueRows } from "./settings.js";

/** Settings that are told with it; the others are in the form, once they are used. */
const TOLD = ["strength", "steps", "guidance", "sampler"];

/**
 * The sample with its settings; null for a model without one.
 * @param {Bench} bench
 */
export function createSample(bench) {
  const { model } = bench;
  const { sample, sample_parameters: made } = model;
  if (!sample || !made) return null;
  const prompt = String(made[nameFor(model, "prompt")] ?? "");
  const fields = model.fields.filter(({ means }) => TOLD.includes(means));
  return h(
    "div.sample",
    {},
    h("figure.plate", {}, h("img", { src: sample, alt: prompt })),
    h("p.hint", {}, "A sample of this model, made with"),
    h("blockquote", {}, prompt),
    h("dl.facts", {}, terms(valueRows(made, { ...model, fields }))),
    tool("sliders", "Use its settings", () => bench.write(made, "The form has the sample's settings now.")),
  );
}
