/**
 * The playground of one model, put together.
 *
 * The form (form.js) says what is wanted; draft.js remembers it, and fills it from the address. The button (go.js), a
 * strip (strip.js), or an image's own buttons (acts.js) put a plate into the queue (queue.js), which sends its requests
 * and follows them (lifecycle.js, watch.js). Plates are plain data (plates.js), remembered by workspace.js. The view
 * (view.js) shows one of them on the stage (stage.js) and all on the shelf (shelf.js). What acts on the playground from
 * elsewhere does so by the type Bench.
 */
import { RANDOM } from "./controls/seed.js";
import { h } from "./dom.js";
import { createDraft } from "./draft.js";
import { createForm } from "./form.js";
import { createGo, repeats } from "./go.js";
import { currentKey } from "./key.js";
import { firstValues, named, nameFor, needed } from "./models.js";
import { at } from "./paths.js";
import { Queue } from "./queue.js";
import { inWords } from "./refusal.js";
import { listenToShortcuts } from "./shortcuts.js";
import { createStrip, fixed } from "./strip.js";
import { View } from "./view.js";
import { ideas, vocabulary } from "./vocabulary.js";
import { createWorkspace } from "./workspace.js";

/** @implements {Bench} */
export class Playground {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    const workspace = createWorkspace(model.slug, currentKey());
    this.form = createForm(model, () => draft.changed());
    this.go = createGo(model, {
      press: () => this.generate(),
      anyway: () => this.generate(true),
      other: () => this.generateAnother(),
    });
    this.queue = new Queue(model, workspace, {
      changed: (plate) => this.view.draw(plate),
      ended: (plate) => this.view.ended(plate),
      refused: ({ message }) => this.form.complain(message),
      trouble: (error) => this.say(inWords(error)),
    });
    this.view = new View(this, this.queue);
    const draft = createDraft(model, this.form, workspace, {
      changed: () => this.go.draw(this.values()),
      attach: (id) => this.attach(id),
    });
    this.element = this.layout();
    listenToShortcuts(this, this.queue, this.view.stage.shown);
    document.addEventListener("tintype:key", () => {
      draft.move(currentKey());
      this.resume();
    });
    draft.restore();
    this.resume();
    draft.open();
  }

  layout() {
    const prompt = (/** @type {string} */ text) => {
      this.write({ [nameFor(this.model, "prompt")]: text }, "The prompt is another one.");
      this.form.focus("prompt");
    };
    this.form.below(ideas(this.model, prompt));
    const { prompt: words, inputs, rest } = this.form.parts;
    return h(
      "div.workbench",
      {},
      h("div.ask", {}, words, this.go.element),
      h("div.view-side", {}, ...this.view.elements, vocabulary(this.model, prompt)),
      h("div.settings", {}, inputs, rest, createStrip(this).element),
    );
  }

  /** Have the plates of this key, and show what runs of them. */
  resume() {
    this.queue.resume();
    this.view.showLatest();
  }

  values() {
    return this.form.values();
  }

  /**
   * @param {Values} values
   * @param {string} [words] what happened, for the line that offers to undo it
   */
  write(values, words) {
    this.form.replace(values, words);
  }

  /** @param {string} words */
  say(words) {
    this.view.say(words);
  }

  /** @param {string} path */
  useAsInput(path) {
    const field = named(this.model, "image");
    if (field) this.write({ [field.name]: path }, "It is the form's input image now.");
    else this.say("This model takes no input image.");
  }

  sound() {
    const todo = needed(this.model);
    this.go.tell(todo);
    return !todo && this.form.sound();
  }

  generate(anyway = false) {
    if (!this.sound()) return;
    const values = this.values();
    if (!anyway && repeats(this.model, values, this.queue.all())) return this.go.warn();
    this.go.draw(values);
    this.add(values);
  }

  generateAnother() {
    this.write({ [nameFor(this.model, "seed")]: RANDOM }, "The seed is a new one each time.");
    this.generate();
  }

  /**
   * @param {Field} field
   * @param {Value[]} over
   */
  strip(field, over) {
    this.add(fixed(this.model, field, this.values()), { varied: field.name, over });
  }

  /**
   * @param {Values} values
   * @param {Parameters<Queue["add"]>[1]} strip
   */
  add(values, strip = {}) {
    this.view.started(this.queue.add(values, strip, () => this.form.stored(values)));
  }

  /**
   * Show a request of this account on the stage, whatever its age, with its settings in the form.
   * @param {string} id
   */
  async attach(id) {
    try {
      const plate = await this.queue.attach(id);
      if (plate.slug !== this.model.slug) return location.assign(at(`/models/${plate.slug}#request=${id}`));
      this.write({ ...firstValues(this.model), ...plate.values }, "The form has this request's settings.");
      this.view.choose(plate);
    } catch (error) {
      const { message, status } = /** @type {Refusal} */ (error);
      const unknown = `This key's account has no request ${id}: it is another account's, or older than the history.`;
      this.view.tell(status === 404 ? unknown : message);
    }
  }
}
