/** How a model reads a prompt: about how many tokens it has, and which of its words mean nothing to the weights. */
import { fill, h } from "./dom.js";

/** What CLIP's tokenizer splits a text into, before it looks for parts of words that it knows. */
const PIECES = /'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/giu;
/** Letters of a word that are one token, on average, beyond a first part that is known as a whole. */
const [LARGE, SMALL] = [
  { whole: 10, part: 5 },
  { whole: 4, part: 3.2 },
];
/** Words that say nothing of what is drawn: the built-in weights have learned to look past them. */
const FILLERS = new Set(
  (
    "a an the of on in at by with without and or to from is it its this that background white photo picture image " +
    "drawing render illustration emoji 3d cute beautiful little big small tiny happy shiny lovely nice funny"
  ).split(" "),
);
/** So many unknown words are named. */
const NAMED = 5;
/** Milliseconds without a keystroke after which a reader who hears the page is told. */
const PAUSE = 500;

/** @typedef {Pick<Model, "vocabulary" | "colours" | "prompt_tokens">} Weights */

/**
 * The words that weights with a vocabulary know; null for weights without one.
 * @param {Weights} weights
 */
function knownWords({ vocabulary, colours = [] }) {
  if (!vocabulary) return null;
  return new Set([...vocabulary.map(({ name }) => name), ...colours].flatMap(wordsOf).concat(...FILLERS));
}

/** @param {string} text */
const wordsOf = (text) => text.toLowerCase().match(/\p{L}+/gu) ?? [];

/**
 * About how many tokens a prompt has: all the same to an encoder that knows words as wholes, more where they are rare.
 * @param {string} text
 * @param {Set<string> | null} known
 */
function tokens(text, known) {
  const { whole, part } = known ? SMALL : LARGE;
  const pieces = text.match(PIECES) ?? [];
  const cost = (/** @type {string} */ piece) =>
    known?.has(piece.toLowerCase()) ? 1 : 1 + Math.max(0, Math.ceil((piece.length - whole) / part));
  return pieces.reduce((sum, piece) => sum + cost(piece), 0);
}

/**
 * The words of a prompt that weights don't know, each once.
 * @param {string} text
 * @param {Set<string> | null} known
 */
function unknownWords(text, known) {
  return known ? [...new Set(wordsOf(text))].filter((word) => word.length > 1 && !known.has(word)) : [];
}

/**
 * What is said of a model's prompt: `count` beside its label, `words` below it; `show` for another text.
 * @param {Weights} model
 */
export function createReading(model) {
  const known = knownWords(model);
  const { prompt_tokens: limit, vocabulary = [] } = model;
  const count = h("span.hint.tokens");
  const words = h("p.hint.unknown", { role: "status" });
  let waiting = 0;
  const name = (/** @type {string[]} */ unknown) => {
    const rest = unknown.length - NAMED;
    const list = unknown.slice(0, NAMED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
    const said = unknown.length ? `Not among the ${vocabulary.length} things that these weights draw: ${list}.` : "";
    if (words.textContent !== said) words.textContent = said;
  };
  return {
    count,
    words,
    /** @param {string} text */
    show(text) {
      const used = tokens(text, known);
      const over = limit !== undefined && used > limit;
      count.classList.toggle("over", over);
      fill(count, inWords(used, limit));
      clearTimeout(waiting);
      waiting = setTimeout(() => name(unknownWords(text, known)), PAUSE);
    },
  };
}

/**
 * @param {number} used
 * @param {number | undefined} limit
 */
function inWords(used, limit) {
  if (limit === undefined) return `about ${used} tokens`;
  return used > limit ? `about ${used} tokens; the first ${limit} are read` : `about ${used} of ${limit} tokens`;
}
