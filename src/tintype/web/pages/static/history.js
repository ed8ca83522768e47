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
/** Days that the server tells of at once. */
const WINDOW = 31;

/** Fill a panel with the requests of `models`; `model` is the slug to which the list is bound, if it is to one. */
export async function drawHistory(panel, { models, model = "" }) {
  const list = h("div.requests", { "aria-live": "polite" });
  const asked = { page: 1, per_page: ROWS, model_name: model, status: "", to_date: day(0), from_date: day(WINDOW - 1) };
  const show = async (changes) => {
    Object.assign(asked, { page: 1 }, changes);
    try {
      fill(list, await rows(asked, models, show));
    } catch (error) {
      fill(
        list,
        h("p.refusal", { role: "alert" }, error.message),
        currentKey() ? null : h("button", { type: "button", onclick: () => show({}) }, "Enter key"),
      );
    }
  };
  fill(panel, h("div.prose", {}, h("h2", {}, "Requests"), filters(asked, model ? [] : models, show)), list);
  await show({});
}

function filters(asked, models, show) {
  const choose = (name, words, options) =>
    h("label", {}, words, h("select", { onchange: (event) => show({ [name]: event.target.value }) }, options));
  const date = (name, words) =>
    h(
      "label",
      {},
      words,
      h("input", {
        type: "date",
        value: asked[name],
        max: day(0),
        onchange: (event) => show({ [name]: event.target.value }),
      }),
    );
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

async function rows(asked, models, show) {
  const found = await get(`/inference-request/request-history?${new URLSearchParams(asked)}`);
  if (!found.data.length) return [h("p.hint", {}, "Nothing here in these days.")];
  return [
    h(
      "ul.rows",
      {},
      found.data.map((row) => request(row, models)),
    ),
    pager(found, ["request", "requests"], (page) => show({ page }), true),
  ];
}

function request(row, models) {
  const model = models.find(({ slug }) => slug === row.model_name);
  const shown = row.generation_url
    ? h(
        "a",
        { href: local(row.generation_url), target: "_blank" },
        h("img", {
          src: local(row.generation_url),
          alt: `Picture of ${row.prompt || "request " + row.request_id}`,
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

/** The playground with this request in its form. */
function again(model, parameters) {
  const known = model.fields.filter(
    ({ name }) =>
      parameters[name] !== null &&
      parameters[name] !== undefined &&
      parameters[name] !== named(model, "image")?.default,
  );
  return `/models/${model.slug}#${new URLSearchParams(known.map(({ name }) => [name, parameters[name]]))}`;
}

/** A day as the server takes it, so many before today (UTC). */
export const day = (before) => new Date(Date.now() - before * 86_400_000).toISOString().slice(0, 10);
