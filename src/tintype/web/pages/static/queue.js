/**
 * The queue of one's own: plates are put on the shelf, sent, cancelled, and picked up again when the page is. How one
 * of their runs fares is lifecycle.js's; plate-store.js remembers them.
 */
import { Lifecycle } from "./lifecycle.js";
import { PlateStore } from "./plate-store.js";
import { active, isLong, newPlate, newRun, short, unfinished, valuesOf } from "./plates.js";
import { recall } from "./recall.js";

/** Milliseconds for which what was not sent when the page was left is sent when it is back. */
const SENT_LATER = 600_000;

/**
 * What a queue tells of: that a plate, or the whole shelf, is to be drawn again; that a plate has ended; that the
 * server refused to take one, for whose plate there is no need where it says so; and what else went wrong.
 * @typedef {object} Heard
 * @property {(plate?: Plate) => void} changed
 * @property {(plate: Plate) => void} ended
 * @property {(error: Refusal) => boolean} refused
 * @property {(error: Refusal) => void} trouble
 */

export class Queue {
  /**
   * @param {Model} model
   * @param {ReturnType<typeof import("./workspace.js").createWorkspace>} workspace
   * @param {Heard} heard
   */
  constructor(model, workspace, heard) {
    this.model = model;
    this.heard = heard;
    this.store = new PlateStore(workspace);
    this.lifecycle = new Lifecycle(model, {
      wanted: (run) => Boolean(this.store.of(run)),
      told: (run) => this.heard.changed(this.store.of(run)),
      sent: (run) => this.save(this.store.of(run)),
      ended: (run) => this.ended(this.store.of(run)),
      refused: (run, error) => this.refused(this.store.of(run), error),
      trouble: heard.trouble,
    });
    workspace.listen(() => this.sync());
  }

  /** All plates, the newest first. */
  all() {
    return this.store.all();
  }

  /** @param {Run} run */
  live(run) {
    return this.lifecycle.live(run);
  }

  /**
   * Put a plate on the shelf, and send its requests.
   * @param {Values} values
   * @param {Parameters<typeof newPlate>[2]} strip
   * @param {() => Promise<Values>} ready gives the values once what lies in the form as text is stored on the server
   */
  add(values, strip, ready = async () => values) {
    const plate = newPlate(this.model.slug, short(values), strip);
    this.put(plate);
    this.begin(plate, ready);
    return plate;
  }

  /**
   * Send what of a plate failed or was cancelled once more.
   * @param {Plate} plate
   */
  again(plate) {
    const { values, varied } = plate;
    const next = newPlate(this.model.slug, values, { varied });
    next.runs = plate.runs.map((run) => (run.state === "done" ? run : { ...newRun(run.value), ...keyOf(run) }));
    this.drop(plate);
    this.put(next);
    this.begin(next, () => whole(plate));
    return next;
  }

  /**
   * Cancel what of a plate has not ended.
   * @param {Plate} plate
   */
  cancel(plate) {
    for (const run of plate.runs.filter(unfinished)) this.lifecycle.cancel(run);
    this.heard.changed(plate);
  }

  /** @param {Plate} plate */
  drop(plate) {
    this.store.drop(plate);
    this.heard.changed();
  }

  /**
   * The plate of a request of this account, whatever its age; throws Refused.
   * @param {string} id
   */
  async attach(id) {
    const known = this.all().find((plate) => plate.runs.some(({ request }) => request === id));
    if (known) return known;
    const { slug, values, run } = await recall(id);
    const plate = { ...newPlate(slug, short(values)), runs: [{ ...newRun(), ...run }] };
    if (slug !== this.model.slug) return plate;
    this.put(plate);
    this.attend();
    return plate;
  }

  /** Have the plates that this device remembers, and follow those that run; send what was not sent, or perhaps not. */
  resume() {
    this.lifecycle.stop();
    this.store.load();
    this.attend();
    for (const plate of this.all()) {
      const recent = Date.now() - plate.at < SENT_LATER;
      for (const run of plate.runs)
        if (run.unsure && recent) Object.assign(run, { state: "sending", unsure: undefined });
      if (plate.runs.some(({ state }) => state === "sending")) this.begin(plate, () => whole(plate, SENT_LATER));
    }
  }

  /** Another tab has changed the shelf. */
  sync() {
    for (const plate of this.store.sync()) this.heard.ended(plate);
    this.attend();
  }

  /** Follow what runs and isn't followed yet. */
  attend() {
    for (const { runs } of this.all())
      for (const run of runs) if (run.state === "running" && !this.live(run)) this.lifecycle.follow(run);
    this.heard.changed();
  }

  /** @param {Plate} plate */
  put(plate) {
    this.store.add(plate);
    this.heard.changed();
  }

  /** @param {Plate} [plate] */
  save(plate) {
    if (!plate) return;
    this.store.save(plate);
    this.heard.changed(plate);
  }

  /**
   * @param {Plate} plate
   * @param {() => Promise<Values>} ready
   */
  async begin(plate, ready) {
    const waiting = plate.runs.filter(({ state }) => state === "sending");
    for (const run of waiting) this.lifecycle.begin(run);
    try {
      const values = await ready();
      plate.values = short(values);
      plate.partial = Object.values(values).some(isLong) || undefined;
      this.save(plate);
      await Promise.all(waiting.map((run) => this.lifecycle.send(run, valuesOf({ ...plate, values }, run))));
    } catch (error) {
      for (const run of waiting) this.lifecycle.fail(run, error);
    }
  }

  /** @param {Plate} [plate] one of whose runs has ended */
  ended(plate) {
    this.save(plate);
    if (plate && !active(plate)) this.heard.ended(plate);
  }

  /**
   * @param {Plate | undefined} plate
   * @param {Refusal} error
   */
  refused(plate, error) {
    const said = !plate?.varied && this.heard.refused(error);
    if (said && plate) this.drop(plate);
    return said;
  }
}

/** @param {Run} run */
const keyOf = ({ unsure, key }) => (unsure ? { key } : {});

/**
 * The values of a plate, if it has all of them; throws where it hasn't, or is older than `age` milliseconds.
 * @param {Plate} plate
 */
async function whole({ partial, values, at }, age = Infinity) {
  if (partial) throw new Error("The image lay in the form as text, which is not remembered. Choose it again.");
  if (Date.now() - at > age) throw new Error("The page was left before this was sent.");
  return values;
}
