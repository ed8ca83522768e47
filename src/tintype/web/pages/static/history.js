/** The requests of an account: a list with thumbnails, filters and pages. */

import { get, sleep } from "./api.js";
import { day } from "./dates.js";
import { fill, h } from "./dom.js";
import { createRow } from "./history-row.js";
import { currentKey } from "./key.js";
import { keyButton } from "./key-dialog.js";
import { pager } from "./pager.js";
import { inWords } from "./refusal.js";
import { label } from "./words.js";

const ROWS = 20;
const STATES = ["", "COMPLETED", "FAILED", "PENDING"];
/** Days that the server tells of in one answer. */
const WINDOW = 31;
/** Milliseconds between looks at requests that are running. */
const PAUSE = 2000;

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
  /** @type {Api.PastRequest[]} */
  let listed = [];
  /** Counts lists: what is learned of one of before is dropped. */
  let turn = 0;
  /** @type {Show} */
  const show = async (changes) => {
    Object.assign(asked, first, changes);
    turn += 1;
    const own = turn;
    try {
      const found = await load(asked);
      if (own !== turn) return;
      listed = found.data;
      fill(list, ...rows(found, row, show));
      follow(own);
    } catch (error) {
      if (own === turn) fill(list, ...refusal(/** @type {Refusal} */ (error), () => show({ page: asked.page })));
    }
  };
  /** @param {Api.PastRequest} past */
  const row = (past) => createRow(past, models, look);
  /** Look again: what has ended meanwhile is drawn anew. */
  const look = async () => {
    const own = turn;
    const { data } = await load(asked);
    if (own !== turn) return;
    if (String(data.map(idOf)) !== String(listed.map(idOf))) return show({ page: asked.page });
    const items = list.querySelectorAll("ul.rows > li");
    for (const [place, past] of data.entries()) {
      if (past.status !== listed[place].status) items[place].replaceWith(row(past));
    }
    listed = data;
  };
  /** @param {number} own */
  const follow = async (own) => {
    while (own === turn && listed.some(({ status }) => status === "PENDING")) {
      await sleep(PAUSE);
      if (!list.isConnected) return;
      // A server that is away is asked again.
      if (own === turn && !document.hidden && list.checkVisibility()) await look().catch(() => null);
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

/** @param {Query} asked */
const load = (asked) => get(`/inference-request/request-history?${new URLSearchParams(asked)}`);

/** @param {Api.PastRequest} past */
const idOf = ({ request_id: id }) => id;

/**
 * @param {Api.Page<Api.PastRequest>} found
 * @param {(past: Api.PastRequest) => HTMLElement} row
 * @param {Show} show
 */
function rows(found, row, show) {
  if (!found.data.length) return [h("p.hint", {}, "Nothing here in these days.")];
  return [
    h("ul.rows", {}, found.data.map(row)),
    pager(found, ["request", "requests"], (page) => show({ page: String(page) }), true),
  ];
}

/**
 * @param {Refusal} error
 * @param {() => Promise<void>} again
 */
const refusal = (error, again) => [
  h("p.refusal", { role: "alert" }, inWords(error)),
  currentKey() ? h("button", { type: "button", onclick: again }, "Try again") : keyButton(again),
];
