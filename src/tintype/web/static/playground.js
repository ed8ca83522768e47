/** The playground: the form, what it makes, and what can be done with that. */
import { send } from "./api.js";
import { showCompare } from "./compare.js";
import { drawSeed } from "./controls/number.js";
import { fill, h, icon } from "./dom.js";
import { createForm } from "./form.js";
import { fromAddress, toAddress } from "./link.js";
import { firstValues, named, request } from "./models.js";
import { createProgress } from "./progress.js";
import { pictures, showResult } from "./result.js";
import { createShelf } from "./shelf.js";
import { createStrip } from "./strip.js";
import { ideas, vocabulary } from "./vocabulary.js";
import { watch } from "./watch.js";
import { dollars } from "./words.js";

/** The playground of a model: its element, and the form's values at the moment. */
export function createPlayground(model) {
  const own = new Playground(model);
  return { element: own.element, values: () => own.form.values() };
}

class Playground {
  constructor(model) {
    this.model = model;
    this.running = null;
    this.error = h("div.refusal", { role: "alert", hidden: true });
    this.go = h("button.primary.go", { type: "button", onclick: () => this.generate() }, "Generate");
    this.form = createForm(model, () => this.price());
    this.form.write({ ...firstValues(model), ...fromAddress(model) });
    this.form.below("prompt", ideas(model, (prompt) => this.write({ [named(model, "prompt").name]: prompt })));
    this.stage = h("section.stage", { "aria-label": "Picture" }, empty());
    this.shelf = createShelf((made) => this.show(made));
    this.strip = createStrip(model, { read: (checked) => (!checked || this.sound()) && this.values(), stage: this.stage, refuse: (error) => this.refuse(error), busy: (stop) => this.busy(stop) });
    this.element = h("div.workbench", {},
      h("div.side", {}, this.form.element,
        h("div.actions", {}, this.error, h("div.row", {}, this.go, h("kbd", {}, "Ctrl"), h("kbd", {}, "Enter"))), this.strip.element),
      h("div.view-side", {}, this.stage, this.shelf.element, vocabulary(model, (name) => this.name(name))));
    document.addEventListener("keydown", (event) => this.key(event));
    this.price();
  }

  values() {
    return this.form.values();
  }

  price() {
    const count = Number(this.values()[named(this.model, "count")?.name] ?? 1);
    const cost = this.model.price * (count || 1);
    this.go.textContent = this.model.price && this.model.price_per === "picture" ? `Generate for ${dollars(cost)}` : "Generate";
  }

  key(event) {
    if (!this.element.checkVisibility() || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) (event.preventDefault(), this.generate());
    if (event.key === "Escape" && this.running) this.running();
  }

  /** Whether the form can be sent; if not, it says why beside the fields. */
  sound() {
    this.error.hidden = true;
    return this.form.sound();
  }

  /** Show that something runs, and what stops it; null when it has ended. */
  busy(stop) {
    this.running = stop;
    this.go.disabled = Boolean(stop);
    this.strip.button.disabled = Boolean(stop);
  }

  async generate(changes = {}) {
    if (this.running || !this.sound()) return;
    const values = { ...this.values(), ...changes };
    let id = null;
    let unwanted = false;
    const stop = () => send(`/v2/requests/${id}`, undefined, "DELETE").catch((error) => this.refuse(error));
    this.busy(() => ((unwanted = true), id && stop()));
    const progress = createProgress(() => this.running?.());
    try {
      id = (await send(`/v2/${this.model.slug}`, request(this.model, values))).request_id;
      if (unwanted) stop();
      fill(this.stage, progress.element);
      if (!this.seen()) this.stage.scrollIntoView({ block: "start" });
      this.finish(await watch(id, progress.tell), values);
    } catch (error) {
      this.refuse(error);
    } finally {
      this.busy(null);
    }
  }

  finish(result, values) {
    if (result.status !== "COMPLETED") {
      const cancelled = result.error === "cancelled";
      fill(this.stage, empty(cancelled ? "Cancelled; nothing was charged." : ""));
      return cancelled || this.tell(result.error, "Nothing was charged.");
    }
    const made = pictures(result, values);
    this.shelf.add(made);
    this.show(made);
  }

  show(made) {
    fill(this.stage, showResult(made, {
      same: ({ seed }) => this.reseed(made[0].values, seed),
      vary: () => (this.reseed(made[0].values, drawSeed()), this.generate()),
      input: named(this.model, "image") && (({ absolute }) => this.write({ [named(this.model, "image").name]: absolute })),
      compare: (picture) => this.compare(picture, made),
      link: (picture) => this.copy(picture),
    }));
  }

  reseed(values, seed) {
    this.write({ ...values, [named(this.model, "seed").name]: seed });
  }

  write(values) {
    this.form.write(values);
    this.price();
  }

  compare(picture, made) {
    const input = picture.values[named(this.model, "image")?.name];
    const before = input?.startsWith("/") || input?.startsWith(location.origin) ? [{ url: input, label: "the input picture" }] : [];
    const others = [...before, ...this.shelf.all().filter((other) => other !== picture)];
    if (!others.length) return this.tell("There is nothing to compare it with yet: make a second picture.");
    fill(this.stage, showCompare(picture, others, () => this.show(made)));
  }

  async copy({ values, seed }) {
    const address = toAddress(request(this.model, { ...values, [named(this.model, "seed").name]: seed }));
    history.replaceState(null, "", address);
    await navigator.clipboard?.writeText(address).catch(() => undefined);
    this.tell("The link is copied, and stands in the address bar.", "", true);
  }

  name(thing) {
    const field = named(this.model, "prompt").name;
    this.write({ [field]: thing });
    this.form.focus("prompt");
  }

  /** Show an error beside the field that it names, or else above the button. */
  refuse({ message, advice }) {
    const field = this.model.fields.find(({ name }) => message.startsWith(`${name}: `));
    if (!field || !this.form.complain(field.name, message.slice(field.name.length + 2))) this.tell(message, advice);
  }

  tell(words, advice = "", good = false) {
    this.error.classList.toggle("good", good);
    this.error.hidden = false;
    fill(this.error, h("p", {}, words), advice ? h("p.hint", {}, advice) : null);
  }

  seen() {
    return this.stage.getBoundingClientRect().top < innerHeight * 0.6;
  }
}

/** What the stage shows before there is a picture. */
function empty(words = "") {
  return h("div.empty", {}, h("div.plate.blank", {}, icon("camera")),
    h("p", { role: "status" }, words || "Your picture is made here, while you wait."));
}
