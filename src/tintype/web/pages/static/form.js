/** A model's form, drawn from its parameters as the server's JSON Schema describes them. */
import { createAdvanced } from "./advanced.js";
import { problem } from "./check.js";
import { createShape } from "./controls/shape.js";
import { h } from "./dom.js";
import { drawField, reveal } from "./field.js";
import { firstValues } from "./models.js";
import { isLong } from "./plates.js";
import { createReading } from "./reading.js";
import { createUndo } from "./undo.js";

/** What stands before the fold, by meaning, beside the images' group. */
const OUTSIDE = ["prompt", "negative_prompt", "count", "seed", "aspect_ratio"];
/** The order of what is folded. */
const FOLDED = ["prompt", "method", "size", "answer"];
/** What has no use on a page: it keeps the value that a link gave it. The API tab has it. */
const ELSEWHERE = ["base64"];

/**
 * A form: its `parts`, and what can be done with it.
 * @param {Model} model
 * @param {() => void} changed called when a value was changed by hand, or all of them were replaced
 */
export function createForm(model, changed) {
  const fields = model.fields.map((field) => drawField(field, () => edited(field.means)));
  const find = (/** @type {string} */ means) => fields.find(({ field }) => field.means === means);
  const reading = createReading(model);
  const undo = createUndo();
  const first = firstValues(model);

  const follow = () => {
    find("mask")?.control.over?.(find("image")?.control.read() ?? "");
    reading.show(String(find("prompt")?.control.read() ?? ""));
    advanced.summarise();
  };
  const edited = (/** @type {string} */ means) => {
    if (means === "width" || means === "height") shape?.follow();
    follow();
    changed();
  };
  const shape = createShape(find, () => {
    follow();
    changed();
  });
  /** @returns {Values} */
  const values = () => Object.fromEntries(fields.map(({ field, control }) => [field.name, control.read()]));
  const write = (/** @type {Values} */ wanted) => {
    // In the form's order: a mask belongs to the image before it.
    for (const { field, control } of fields) {
      if (field.name in wanted) control.write(wanted[field.name]);
      if (field.means === "image") follow();
    }
    shape?.sync();
    follow();
  };
  /**
   * Overwrite the form, and offer its former values.
   * @param {Values} wanted
   * @param {string} words what happened
   */
  const replace = (wanted, words = "Settings replaced.") => {
    const before = values();
    write(wanted);
    changed();
    if (same(before, values())) return;
    undo.offer(words, () => {
      write(before);
      changed();
    });
  };

  const shown = fields.filter(({ field }) => field.choices.length !== 1 && !ELSEWHERE.includes(field.means));
  const folded = FOLDED.flatMap((group) => shown.filter(({ field }) => field.group === group)).filter(
    ({ field }) => !OUTSIDE.includes(field.means),
  );
  const late = shape && !shape.first ? [shape.element] : [];
  const advanced = createAdvanced(folded, late, first, () => replace(first, "Settings reset."));
  const row = (/** @type {string} */ means) => shown.find(({ field }) => field.means === means)?.row ?? null;
  find("prompt")?.head.append(reading.count);
  const prompt = h(
    "div.fields.first",
    {},
    h("div.beside", {}, row("prompt"), row("image")),
    find("image")?.control.said ?? null,
    reading.words,
    undo.element,
  );
  const parts = {
    /** The prompt, with the input image beside it. */
    prompt,
    /** What is done to the input image. */
    inputs: h(
      "div.fields",
      {},
      shown
        .filter(({ field }) => field.group === "picture" && field.means !== "image")
        .reverse()
        .map(({ row }) => row),
    ),
    /** Everything else, most of it folded. */
    rest: h(
      "div.fields",
      {},
      row("negative_prompt"),
      shape?.first ? shape.element : null,
      h("div.twins", {}, row("count"), row("seed")),
      advanced.element,
    ),
  };
  advanced.names(Object.values(parts));
  return {
    parts,
    values,
    write,
    replace,
    /**
     * Have what lies in the form as text stored on the server → these values, of this form, with its path instead.
     * @param {Values} wanted
     * @returns {Promise<Values>}
     */
    async stored(wanted) {
      await Promise.all(fields.map(({ control }) => control.ready?.()));
      const now = values();
      const paths = Object.entries(wanted).map(([name, value]) => [name, isLong(value) ? now[name] : value]);
      return Object.fromEntries(paths);
    },
    /**
     * Put something below the prompt.
     * @param {HTMLElement | null} extra
     */
    below(extra) {
      if (extra) reading.words.after(extra);
    },
    /** @param {string} means */
    focus: (means) => find(means)?.control.input.focus(),
    /** Complain at every field that can't be sent → whether all can. */
    sound() {
      const wrong = fields.filter(({ field, control, complain }) => complain(problem(field, control.read())));
      if (wrong.length) reveal(wrong[0]);
      return wrong.length === 0;
    },
    /**
     * Show what the server says of one field, whose name comes first → whether it names one.
     * @param {string} message
     */
    complain(message) {
      const drawn = fields.find(({ field }) => message.startsWith(`${field.name}: `));
      if (!drawn) return false;
      drawn.complain(message.slice(drawn.field.name.length + 2));
      reveal(drawn);
      return true;
    },
  };
}

/**
 * Whether a form with one would send what it sends with the other.
 * @param {Values} some
 * @param {Values} others
 */
const same = (some, others) => Object.entries(some).every(([name, value]) => String(value) === String(others[name]));
