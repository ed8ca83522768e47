/** The API tab: the form's request as code, and what a caller must know, from the catalogue and /openapi.json. */
import { get } from "./api.js";
import { createCode } from "./code.js";
import { fill, h, unique } from "./dom.js";
import { needed, request } from "./models.js";
import { server } from "./paths.js";
import { answerFile, asked, languagesFor } from "./snippets/index.js";
import { table } from "./table.js";
import { duration } from "./words.js";

const FAILED =
  "A FAILED request is answered with HTTP 422, an unknown or expired one with 404. What the safety check refuses is " +
  "FAILED, not a state of its own.";

/** Where a `$ref` to a shared response leads. */
const SHARED = "#/components/responses/";

/** @typedef {Record<string, Api.Response>} Responses */

/**
 * Fill the panel, for the form's values.
 * @param {HTMLElement} panel
 * @param {Model} model
 * @param {Values} values
 */
export async function drawReference(panel, model, values) {
  const [about, document] = await Promise.all([get("/about.json"), get("/openapi.json")]);
  const [wait, submit] = ["v1", "v2"].map((version) => responsesOf(document, `/${version}/${model.slug}`));
  fill(
    panel,
    snippets(model, values),
    parameters(model),
    wait && submit && answers(wait, submit),
    queue(model, about),
    wait && errors(wait),
    retention(about),
  );
}

/**
 * The responses of POST at a path, by status, also those that it shares with other operations; null for a model that
 * is not served.
 * @param {Api.OpenApi} document
 * @param {string} path
 * @returns {Responses | null}
 */
function responsesOf({ paths, components }, path) {
  const operation = paths[path]?.post;
  if (!operation) return null;
  const entries = Object.entries(operation.responses);
  return Object.fromEntries(
    entries.map(([status, one]) => [status, "$ref" in one ? components.responses[one.$ref.replace(SHARED, "")] : one]),
  );
}

/**
 * @param {Model} model
 * @param {Values} values
 */
function snippets(model, values) {
  const code = createCode();
  const group = unique("language");
  const needs = h("p.hint");
  const ask = asked(server, model, request(model, values), answerFile(model, values));
  const show = (/** @type {Language} */ language) => {
    code.show(language.file, language.write(ask));
    needs.textContent = language.needs;
  };
  const languages = languagesFor(model);
  const choices = languages.map((language, place) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: group,
        value: language.name,
        checked: place === 0,
        onchange: () => show(language),
      }),
      h("span", {}, language.name),
    ),
  );
  show(languages[0]);
  return h(
    "section.part",
    {},
    h("h2", {}, "The form's request as code"),
    h(
      "p",
      {},
      `It runs ${needed(model) ? "once the model has weights" : "as it stands"}, with your key in the environment: `,
      h("code", {}, 'export SEGMIND_API_KEY="YOUR_API_KEY"'),
    ),
    h("div.segments.languages", { role: "radiogroup", "aria-label": "Language" }, choices),
    needs,
    code.element,
  );
}

/** @param {Model} model */
function parameters(model) {
  const row = (/** @type {Field} */ field) => [
    [h("code", {}, field.name), h("span.needed", {}, field.required ? " required" : "")],
    field.kind === "image" ? "string (uri)" : field.type,
    field.default === null ? "" : h("code", {}, JSON.stringify(field.default)),
    [field.help, allowed(field)],
  ];
  return part("Parameters", ["Name", "Type", "Default", "What it is"], model.fields.map(row));
}

/** @param {Field} field */
function allowed({ choices, minimum, maximum, name }) {
  if (choices.length)
    return h(
      "p.allowed",
      {},
      choices.map((choice) => h("code", {}, JSON.stringify(choice))),
    );
  if (minimum === undefined) return null;
  return h("p.hint", {}, name === "seed" ? "-1 to 2⁶³ − 1" : `${minimum} to ${maximum}`);
}

/**
 * @param {Responses} wait
 * @param {Responses} submit
 */
function answers(wait, submit) {
  const kinds = Object.keys(wait[200].content).join(", ");
  /** @type {Line[]} */
  const rows = [
    ["POST /v1, waits", `${wait[200].description} (${kinds})`],
    ["POST /v2, queued", submit[200].description],
  ];
  return part("Answers", ["Call", "Answers with"], rows.map(line));
}

/**
 * @param {Model} model
 * @param {Api.About} about
 */
function queue(model, { states }) {
  /** @type {Line[]} */
  const steps = [
    [`POST /v2/${model.slug}`, "Submit: answers with request_id, status_url and response_url"],
    ["GET /v2/requests/{id}/status", "Ask until it is COMPLETED or FAILED; asking is never rate-limited"],
    ["GET /v2/requests/{id}/events", "Or be told: position, steps and previews as server-sent events"],
    ["GET /v2/requests/{id}", "The result"],
    ["DELETE /v2/requests/{id}", "Cancel; nothing is charged"],
  ];
  return h(
    "section.part",
    {},
    part("Queued requests", ["Call", "What it does"], steps.map(line)),
    part("States", ["State", "What it means"], Object.entries(states).map(line)),
    h("p", {}, FAILED),
  );
}

/** @param {Responses} responses */
function errors(responses) {
  const rows = Object.entries(responses)
    .filter(([status]) => Number(status) >= 400)
    .map(([status, { description }]) => line([status, description]));
  return h(
    "section.part",
    {},
    part("Errors", ["HTTP", "What it means"], rows),
    h(
      "p",
      {},
      "Every error is JSON with ",
      h("code", {}, "error"),
      ", ",
      h("code", {}, "error_description"),
      " and ",
      h("code", {}, "status_code"),
      ".",
    ),
  );
}

/** @param {Api.About} about */
function retention({ kept_seconds: kept }) {
  /** @type {[thing: string, seconds: number | null][]} */
  const rows = [
    ["A request's record and result", kept.record],
    ["Its images", kept.images],
    ["Uploaded images", kept.upload],
    ["The account's history", kept.history],
  ];
  return part(
    "How long things are kept",
    ["What", "For how long"],
    rows.map(([name, seconds]) => line([name, lasts(seconds)])),
  );
}

/** @param {number | null} seconds */
const lasts = (seconds) => (seconds === null ? "without end" : seconds ? duration(seconds) : "not at all");

/** @typedef {[name: string, words: string]} Line */

/** @param {Line} line */
const line = ([name, words]) => [h("code", {}, name), words];

/**
 * @param {string} title
 * @param {string[]} heads
 * @param {(Child | Child[])[][]} rows
 */
const part = (title, heads, rows) => h("section.part", {}, h("h2", {}, title), table(title, heads, rows));
