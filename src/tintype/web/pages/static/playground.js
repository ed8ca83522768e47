/** The playground: the form, the button, and the stage on which what is made appears. */

import { actsOn } from "./acts.js";
import { send } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { createForm } from "./form.js";
import { isTest } from "./key.js";
import { fromAddress } from "./link.js";
import { firstValues, imageCount, named, request } from "./models.js";
import { createProgress } from "./progress.js";
import { pictures, showResult } from "./result.js";
import { createShelf } from "./shelf.js";
import { createStrip } from "./strip.js";
import { ideas, vocabulary } from "./vocabulary.js";
import { submit, watch } from "./watch.js";
import { forPrice } from "./words.js";

/**
 * The playground of one model: its `element`, and what others may do with it.
 * @implements {Bench}
 */
export class Playground {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    /**
     * What stops the work in progress; null when there is none.
     * @type {(() => void) | null}
     */
    this.running = null;
    this.error = h("div.refusal", { role: "alert", hidden: true });
    this.said = h("p.unseen", { role: "status" });
    this.note = h("p.notice", { role: "status" });
    this.go = h("button.primary.go", { type: "button", onclick: () => this.generate() });
    this.form = createForm(model, () => this.price());
    this.stage = h("section.stage", { "aria-label": "Picture" }, empty());
    this.shelf = createShelf((made) => {
      this.say("");
      this.show(made);
    });
    this.strip = createStrip(this);
    this.element = this.layout();
    this.write({ ...firstValues(model), ...fromAddress(model) });
    document.addEventListener("tintype:key", () => this.price());
    addEventListener("hashchange", () => this.write(fromAddress(model)));
    document.addEventListener("keydown", (event) => this.key(event));
  }

  layout() {
    const name = named(this.model, "prompt")?.name ?? "prompt";
    const prompt = (/** @type {string} */ text) => {
      this.write({ [name]: text });
      this.form.focus("prompt");
    };
    this.form.below("prompt", ideas(this.model, prompt));
    const keys = h("span.row", { "aria-hidden": "true" }, h("kbd", {}, "Ctrl"), h("kbd", {}, "Enter"));
    return h(
      "div.workbench",
      {},
      h(
        "div.side",
        {},
        this.form.element,
        h("div.actions", {}, this.error, h("div.row", {}, this.go, keys)),
        this.strip.element,
      ),
      h("div.view-side", {}, this.said, this.stage, this.note, this.shelf.element, vocabulary(this.model, prompt)),
    );
  }

  values() {
    return this.form.values();
  }

  /** @param {Values} values */
  write(values) {
    this.form.write(values);
    this.price();
  }

  /** The button tells what it will cost. */
  price() {
    this.go.textContent = `Generate${forPrice(this.model, this.count(this.values()), isTest())}`;
  }

  /**
   * How many pictures a request with these values asks for.
   * @param {Values} values
   */
  count(values) {
    return imageCount(this.model, values);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.element.checkVisibility() || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.generate();
    }
    if (event.key === "Escape" && this.running) this.running();
  }

  /** Whether the form can be sent; if not, it says why at the fields. */
  sound() {
    this.error.hidden = true;
    return this.form.sound();
  }

  made() {
    return this.shelf.all();
  }

  /**
   * Note what stops the work in progress; null when it has ended.
   * @param {(() => void) | null} stop
   */
  busy(stop) {
    this.running = stop;
    for (const button of [this.go, this.strip.button]) button.disabled = Boolean(stop);
    if (!stop) document.dispatchEvent(new CustomEvent("tintype:ended"));
  }

  async generate() {
    if (this.running || !this.sound()) return;
    this.say("");
    const values = this.values();
    /** @type {string | null} */
    let id = null;
    let unwanted = false;
    const stop = () => send(`/v2/requests/${id}`, undefined, "DELETE").catch((error) => this.refuse(error));
    const progress = createProgress(this.count(values), () => this.running?.());
    this.busy(() => {
      unwanted = true;
      progress.stopping();
      if (id) stop();
    });
    try {
      const submitted = await submit(this.model.slug, request(this.model, values));
      id = submitted.id;
      if (unwanted) stop();
      if (submitted.warning) this.say(submitted.warning);
      this.put(progress.element);
      this.finish(await watch(id, progress.tell), values);
    } catch (error) {
      this.refuse(/** @type {Refusal} */ (error));
    } finally {
      this.busy(null);
    }
  }

  /**
   * @param {Api.Result} result
   * @param {Values} values what was sent
   */
  finish(result, values) {
    if (result.status === "COMPLETED") {
      const made = pictures(result, values);
      this.shelf.add(made);
      this.show(made);
      this.say([this.note.textContent, ...(result.warnings ?? [])].filter(Boolean).join("; "));
      this.said.textContent = `Done: seed ${made[0].seed}`;
    } else if (result.error === "cancelled") {
      this.put(empty("Cancelled; nothing was charged."));
    } else {
      this.put(empty());
      this.tell(result.error, "Nothing was charged.");
    }
  }

  /** @param {Picture[]} made */
  show(made) {
    this.put(showResult(made, actsOn(made, this)));
  }

  /**
   * Put something on the stage, and the stage where it is seen.
   * @param {HTMLElement} element
   */
  put(element) {
    fill(this.stage, element);
    if (this.stage.getBoundingClientRect().top > innerHeight * 0.6) this.stage.scrollIntoView({ block: "start" });
  }

  /**
   * Show an error at the field that it names, or else above the button.
   * @param {Refusal} error
   */
  refuse({ message, advice }) {
    const field = this.model.fields.find(({ name }) => message.startsWith(`${name}: `));
    if (!field || !this.form.complain(field.name, message.slice(field.name.length + 2))) this.tell(message, advice);
  }

  /**
   * Say above the button what went wrong, where it is seen.
   * @param {string} words
   * @param {string} advice
   */
  tell(words, advice = "") {
    this.error.hidden = false;
    fill(this.error, h("p", {}, words), advice ? h("p.hint", {}, advice) : null);
    this.error.scrollIntoView({ block: "nearest" });
  }

  /**
   * Say something of the picture, below it.
   * @param {string} words
   */
  say(words) {
    this.note.textContent = words;
  }
}

/** What the stage shows before there is a picture. */
function empty(words = "Your picture is made here, while you wait.") {
  return h("div.empty", {}, h("div.plate.blank", {}, icon("camera")), h("p", { role: "status" }, words));
}
