/** The form for a new key: what it is called, what it may do, and how much. */
import { cancelButton } from "./dialog.js";
import { h, unique } from "./dom.js";
import { createError } from "./refusal.js";

const DAY = 86_400;
/** @type {[days: number | "", words: string][]} */
const LIVES = [
  ["", "as long as this key"],
  [1, "1 day"],
  [7, "7 days"],
  [30, "30 days"],
  [90, "90 days"],
  [365, "a year"],
];

/**
 * What a form for a key is made of; the mode is the reader's key's.
 * @typedef {{models: Model[], mode: "live" | "test", limits: Api.KeyLimit[]}} Choices
 */

/**
 * A form for a key.
 * @param {Choices} choices
 * @param {(wanted: object) => Promise<void>} make sends what `POST /v2/keys` takes; what it throws is shown
 * @param {() => void} cancel
 */
export function createKeyForm({ models, mode, limits }, make, cancel) {
  const name = h("input", {
    id: unique("name"),
    value: "",
    placeholder: "laptop",
    maxlength: 80,
    required: true,
    autocomplete: "off",
  });
  const test = h("input", {
    id: unique("test"),
    type: "checkbox",
    checked: mode === "test",
    disabled: mode === "test",
  });
  const reads = h("input", { id: unique("reads"), type: "checkbox" });
  const chosen = models.map(({ slug, title }) => ({
    slug,
    title,
    box: h("input", { type: "checkbox", checked: true }),
  }));
  const life = h(
    "select",
    { id: unique("life") },
    LIVES.map(([days, words]) => h("option", { value: days }, words)),
  );
  const fields = limits.map((limit) => ({
    limit,
    input: h("input", { id: unique(limit.name), inputmode: "decimal", placeholder: limit.empty, autocomplete: "off" }),
  }));
  const error = createError();
  const read = () => {
    const slugs = chosen.filter(({ box }) => box.checked).map(({ slug }) => slug);
    const figures = fields
      .filter(({ input }) => input.value.trim())
      .map(({ limit, input }) => [limit.name, figure(input.value)]);
    return {
      name: name.value.trim(),
      test: test.checked,
      read_only: reads.checked,
      ...Object.fromEntries(figures),
      ...(slugs.length < chosen.length && { models: slugs }),
      ...(life.value && { expires_in: Number(life.value) * DAY }),
    };
  };
  return h(
    "form",
    { onsubmit: error.listener(() => make(read())), novalidate: true },
    h("label", { for: name.id }, "What is it for?"),
    name,
    h("div.check", {}, test, h("label", { for: test.id }, "A test key: free, no model runs")),
    h("div.check", {}, reads, h("label", { for: reads.id }, "It may only read")),
    h("span.label", {}, "It may run"),
    h(
      "div.pills",
      { role: "group", "aria-label": "It may run" },
      chosen.map(({ title, box }) => h("label", {}, box, h("span", {}, title))),
    ),
    h("label", { for: life.id }, "It works for"),
    life,
    h(
      "details",
      {},
      h("summary", {}, "Limits"),
      h(
        "div.pairs",
        {},
        fields.map(({ limit, input }) => h("div", {}, h("label", { for: input.id }, limit.label), input)),
      ),
    ),
    error.element,
    h("div.row", {}, h("button.primary", { type: "submit" }, "Make the key"), cancelButton(cancel)),
  );
}

/**
 * A number where it is one; else the text, which the server then refuses in its own words.
 * @param {string} text
 */
const figure = (text) => (Number.isFinite(Number(text)) ? Number(text) : text.trim());
