/** The seed: drawn anew for every request, unless one is fixed. */
import { h, icon } from "../dom.js";
import { parsed } from "./number.js";

/** Seeds that are drawn stay short enough to be read out. */
const SEEDS = 2 ** 32;
/** What asks the server to draw one. */
export const RANDOM = -1;

/**
 * As text, since a seed may be longer than a number can be exact; no text is a random one.
 * @type {MakeControl}
 */
export function seed(_field, id, changed) {
  const figure = h("input.figure", {
    id,
    type: "text",
    inputmode: "numeric",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "a new one each time",
  });
  const any = h(
    "button.quiet",
    {
      type: "button",
      onclick: () => {
        write(read() === RANDOM ? drawSeed() : RANDOM);
        changed();
      },
    },
    icon("dice"),
    "Random",
  );
  const read = () => parsed(figure.value) ?? RANDOM;
  const show = () => {
    const random = read() === RANDOM;
    any.setAttribute("aria-pressed", String(random));
    any.title = random ? "Every request draws a new seed. Press to fix one." : "Draw a new seed for every request";
  };
  const write = (/** @type {Value} */ value) => {
    figure.value = value === null || Number(value) === RANDOM ? "" : String(value);
    show();
  };
  figure.addEventListener("input", () => {
    show();
    changed();
  });
  figure.addEventListener("change", () => write(read()));
  show();
  return { element: h("div.seed", {}, figure, any), input: figure, read, write };
}

/** A seed that no image had before, by all likelihood. */
export const drawSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;
