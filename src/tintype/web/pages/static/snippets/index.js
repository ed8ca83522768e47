/** The form's request as code, in every language that is offered. */
import { nameFor } from "../models.js";
import { csharp } from "./csharp.js";
import { curl, curlQueue } from "./curl.js";
import { a1111, openai, replicate } from "./dialects.js";
import { go } from "./go.js";
import { java } from "./java.js";
import { javascript, typescript } from "./javascript.js";
import { php } from "./php.js";
import { requests, segmind, segmindSync } from "./python.js";
import { ruby } from "./ruby.js";

/** @type {Language[]} */
const LANGUAGES = [
  curl,
  curlQueue,
  segmind,
  segmindSync,
  requests,
  javascript,
  typescript,
  go,
  java,
  csharp,
  php,
  ruby,
  openai,
  a1111,
  replicate,
];

/**
 * The languages in which a request of a model can be written.
 * @param {Model} model
 */
export const languagesFor = (model) => LANGUAGES.filter(({ takes }) => takes?.(model) ?? true);

/**
 * What a snippet is written from.
 * @param {string} base the server's address
 * @param {Model} model
 * @param {Values} body
 * @param {string} answer the file for the answer
 * @returns {Ask}
 */
export function asked(base, model, body, answer) {
  return { base, model, slug: model.slug, body, json: json(body), answer };
}

/**
 * JSON without the characters that some languages take for the end of a line.
 * @param {Values} body
 */
function json(body) {
  return JSON.stringify(body, null, 2).replace(
    /[\u0085\u2028\u2029]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * The name of the file that v1 answers with: an image, or JSON where there are several or base64 is wanted.
 * @param {Model} model
 * @param {Values} values
 */
export function answerFile(model, values) {
  const value = (/** @type {string} */ means) => values[nameFor(model, means)];
  return value("base64") || Number(value("count") ?? 1) > 1 ? "answer.json" : `picture.${value("format") ?? "jpeg"}`;
}
