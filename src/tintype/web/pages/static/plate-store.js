/** The plates of the shelf, as this device remembers them, and as other tabs change them. */
import { active } from "./plates.js";

export class PlateStore {
  /** @param {ReturnType<typeof import("./workspace.js").createWorkspace>} workspace */
  constructor(workspace) {
    this.workspace = workspace;
    /**
     * The objects stay the same as long as the page does: those who follow a run write into it.
     * @type {Map<string, Plate>}
     */
    this.plates = new Map();
  }

  /** All of them, the newest first. */
  all() {
    return [...this.plates.values()].sort((one, other) => other.at - one.at);
  }

  /** @param {Plate} plate */
  has({ id }) {
    return this.plates.has(id);
  }

  /** @param {Run} run */
  of(run) {
    return this.all().find(({ runs }) => runs.includes(run));
  }

  /** @param {Plate} plate a new one */
  add(plate) {
    this.plates.set(plate.id, plate);
    this.workspace.add(plate);
  }

  /** @param {Plate} plate one that has changed */
  save(plate) {
    if (this.has(plate)) this.workspace.save(plate);
  }

  /** @param {Plate} plate */
  drop({ id }) {
    this.plates.delete(id);
    this.workspace.drop(id);
  }

  /** Have what the device remembers, and nothing else: as at first, or for another key. */
  load() {
    this.plates.clear();
    this.sync();
  }

  /** Take over what another tab has changed → the plates that have ended by that. */
  sync() {
    const stored = new Map(this.workspace.plates().map((plate) => [plate.id, plate]));
    for (const id of this.plates.keys()) if (!stored.has(id)) this.plates.delete(id);
    const running = this.all().filter(active);
    for (const plate of running) merge(plate, /** @type {Plate} */ (stored.get(plate.id)));
    for (const [id, plate] of stored) if (!this.plates.has(id)) this.plates.set(id, plate);
    return running.filter((plate) => !active(plate));
  }
}

/**
 * Runs go forward only: sending, running, ended.
 * @param {Plate} own
 * @param {Plate} stored
 */
function merge(own, stored) {
  const rank = (/** @type {Run} */ { state }) => ["sending", "running"].indexOf(state) + 1 || 3;
  for (const [place, run] of stored.runs.entries())
    if (rank(run) > rank(own.runs[place])) Object.assign(own.runs[place], run);
}
