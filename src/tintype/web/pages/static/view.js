/** What is seen of the queue: one plate on the stage, all of them on the shelf, how many run in the title. */
import { createAnnouncer } from "./announce.js";
import { h } from "./dom.js";
import { active, stateOf, titleOf } from "./plates.js";
import { createShelf } from "./shelf.js";
import { createStage } from "./stage.js";

export class View {
  /**
   * @param {Bench} bench
   * @param {import("./queue.js").Queue} queue
   */
  constructor(bench, queue) {
    this.model = bench.model;
    this.queue = queue;
    const acts = {
      cancel: (/** @type {Plate} */ plate) => queue.cancel(plate),
      again: (/** @type {Plate} */ plate) => this.started(queue.again(plate)),
      dismiss: (/** @type {Plate} */ plate) => this.dismiss(plate),
    };
    this.stage = createStage(bench, queue, acts);
    this.shelf = createShelf(bench.model, queue, { ...acts, open: (plate) => this.choose(plate) });
    this.announcer = createAnnouncer();
    this.said = h("p.unseen", { role: "status" });
    this.note = h("p.notice", { role: "status" });
    /** Whether what is finished next is shown: the reader has chosen no other plate since the last press. */
    this.follows = true;
    const film = h("div.film", {}, this.shelf.element, this.announcer.element);
    this.elements = [this.said, this.stage.element, this.note, film];
  }

  /** @param {Plate | null} plate */
  show(plate) {
    this.say("");
    this.stage.show(plate);
    this.shelf.draw(plate);
  }

  /** Show what runs next, or else the newest. */
  showLatest() {
    const all = this.queue.all();
    this.show(all.findLast(active) ?? all[0] ?? null);
  }

  /** @param {Plate} plate one that was just sent: it is shown, unless what is shown still runs */
  started(plate) {
    this.follows = true;
    const shown = this.stage.shown();
    if (!shown || !active(shown)) this.show(plate);
  }

  /** @param {Plate} plate */
  ended(plate) {
    document.dispatchEvent(new CustomEvent("tintype:ended"));
    const state = stateOf(plate);
    // Nobody looks for what was not wanted; the stage still offers to make it.
    if (state === "cancelled") {
      this.queue.drop(plate);
      this.say("");
    }
    if (state !== "done") return;
    const words = titleOf(this.model, plate);
    this.said.textContent = `Done: ${words}`;
    this.announcer.done(words, plate.id);
    if (this.follows) this.show(plate);
  }

  /** @param {Plate} plate */
  choose(plate) {
    this.follows = false;
    this.show(plate);
  }

  /** @param {Plate} plate */
  dismiss(plate) {
    this.queue.drop(plate);
    if (this.stage.shown() === plate) this.showLatest();
  }

  /** @param {Plate} [plate] the one that has changed; all of them without one */
  draw(plate) {
    const shown = this.stage.shown();
    if (plate) this.shelf.update(plate, plate === shown);
    else this.shelf.draw(shown);
    if (plate === shown) this.stage.draw();
    this.announcer.running(this.queue.all().filter(active).length);
  }

  /** @param {string} words why there is nothing on the stage */
  tell(words) {
    this.stage.tell(words);
    this.shelf.draw(null);
  }

  /** @param {string} words said below the stage */
  say(words) {
    this.note.textContent = words;
  }
}
