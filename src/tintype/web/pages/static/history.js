/** The requests of an account: a list with thumbnails, filters and pages. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { currentKey } from "./key.js";
import { named } from "./models.js";
import { pager } from "./pager.js";
import { local } from "./paths.js";
import { dollars, duration, label, moment } from "./words.js";

const ROWS = 20;
const STATES = ["", "COMPLETED", "FAILED", "PENDING"];
/** Days that the server tells of in one answer. */
const WINDOW = 31;

/** @typedef {"page" | "per_page" | "model_name" | "status" | "from_date" | "to_date"} Name */
/**
 * The list's query.
 * @typedef {Record<Name, string>} Query
 * Shows the list with changes to the query: its first page, unless they name one.
 * @typedef {(changes: Partial<Query>) => Promise<void>} Show
 */

/**
 * Fill a panel with requests.
 * @param {HTMLElement} panel
 * @param {{models: Model[], model?: string}} which `model` is the slug to which the list is bound, if it is to one
 */
export async function drawHistory(panel, { models, model = "" }) {
  const list = h("div.requests", { "aria-live": "polite" });
  const first = { page: "1", per_page: String(ROWS) };
  /** @type {Query} */
  const asked = { ...first, model_name: model, status: "", to_date: day(0), from_date: day(WINDOW - 1) };
  /** @type {Show} */
  const show = async (changes) => {
    Object.assign(asked, first, changes);
    try {
      fill(list, await rows(asked, models, show));
    } catch (error) {
      fill(
        list,
        h("p.refusal", { role: "alert" }, /** @type {Error} */ (error).message),
        currentKey() ? null : h("button", { type: "button", onclick: () => show({}) }, "Enter key"),
      );
    }
  };
  fill(panel, h("div.prose", {}, h("h2", {}, "Requests"), filters(asked, model ? [] : models, show)), list);
  await show({});
}

/**
 * @param {Query} asked
 * @param {Model[]} models
 * @param {Show} show
 */
function filters(asked, models, show) {
  /**
   * @param {Name} name
   * @param {string} words
   * @param {HTMLSelectElement | HTMLInputElement} input
   */
  const filter = (name, words, input) => {
    input.addEventListener("change", () => show({ [name]: input.value }));
    return h("label", {}, words, input);
  };
  /**
   * @param {Name} name
   * @param {string} words
   * @param {HTMLOptionElement[]} options
   */
  const choose = (name, words, options) => filter(name, words, h("select", {}, options));
  /**
   * @param {Name} name
   * @param {string} words
   */
  const date = (name, words) => filter(name, words, h("input", { type: "date", value: asked[name], max: day(0) }));
  return h(
    "div.filters",
    {},
    models.length
      ? choose("model_name", "Model", [
          h("option", { value: "" }, "All"),
          ...models.map(({ slug, title }) => h("option", { value: slug }, title)),
        ])
      : null,
    choose(
      "status",
      "State",
      STATES.map((state) => h("option", { value: state }, state ? label(state.toLowerCase()) : "All")),
    ),
    date("from_date", "From"),
    date("to_date", "To"),
  );
}

/**
 * @param {Query} asked
 * @param {Model[]} models
 * @param {Show} show
 */
async function rows(asked, models, show) {
  const found = await get(`/inference-request/request-history?${new URLSearchParams(asked)}`);
  if (!found.data.length) return [h("p.hint", {}, "Nothing here in these days.")];
  return [
    h(
      "ul.rows",
      {},
      found.data.map((row) => request(row, models)),
    ),
    pager(found, ["request", "requests"], (page) => show({ page: String(page) }), true),
  ];
}

/**
 * @param {Api.PastRequest} row
 * @param {Model[]} models
 */
function request(row, models) {
  const model = models.find(({ slug }) => slug === row.model_name);
  const shown = row.generation_url
    ? h(
        "a",
        { href: local(row.generation_url), target: "_blank" },
        h("img", {
          src: local(row.generation_url),
          alt: `Picture of ${row.prompt || `request ${row.request_id}`}`,
          loading: "lazy",
        }),
      )
    : h("span.hint", {}, row.status === "COMPLETED" ? "expired" : row.status.toLowerCase());
  return h(
    "li",
    { "data-state": row.status },
    h("div.thumb", {}, shown),
    h(
      "div.what",
      {},
      h("p.prompt", {}, row.prompt || "(no prompt)"),
      h(
        "p.hint",
        {},
        h("time", { datetime: row.model_created }, moment(row.model_created)),
        ` · ${model?.title ?? row.model_name}`,
      ),
      row.error ? h("p.error", {}, row.error) : null,
    ),
    h(
      "div.figures",
      {},
      h("span", {}, dollars(row.credits_deduction)),
      h("span.hint", {}, row.latency_ms === null ? "" : duration(row.latency_ms / 1000)),
    ),
    model && row.parameters ? h("a.tool", { href: again(model, row.parameters) }, "Open") : null,
  );
}

/**
 * The playground with this request in its form.
 * @param {Model} model
 * @param {Values} parameters
 */
function again(model, parameters) {
  const sample = named(model, "image")?.default;
  const known = model.fields
    .map(({ name }) => ({ name, value: parameters[name] ?? null }))
    .filter(({ value }) => value !== null && value !== sample)
    .map(({ name, value }) => [name, String(value)]);
  return `/models/${model.slug}#${new URLSearchParams(known)}`;
}

/**
 * A day as the server takes it (UTC).
 * @param {number} before days before today
 */
export const day = (before) => new Date(Date.now() - before * 86_400_000).toISOString().slice(0, 10);
