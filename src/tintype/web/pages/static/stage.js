/** The stage: what is shown large, which is one plate, in the state that it is in, or two images under a slider. */
import { actsOn } from "./acts.js";
import { fill, h, icon } from "./dom.js";
import { currentKey } from "./key.js";
import { keyButton } from "./key-dialog.js";
import { imagesOf, stateOf, titleOf } from "./plates.js";
import { createProgress } from "./progress.js";
import { inLines } from "./refusal.js";
import { showResult } from "./result.js";
import { createSample } from "./sample.js";
import { createSheet } from "./sheet.js";

/**
 * A stage with its `element`.
 * @param {Bench} bench
 * @param {import("./queue.js").Queue} queue
 * @param {{cancel: (plate: Plate) => void, again: (plate: Plate) => void, dismiss: (plate: Plate) => void}} acts
 */
export function createStage(bench, queue, acts) {
  /** What the server warns of. */
  const warnings = h("p.notice", { role: "status" });
  const element = h("section.stage", { "aria-label": "Image" }, createSample(bench) ?? empty());
  /** @type {Plate | null} */
  let shown = null;
  /** Of which plate, in which state, the view is. */
  let drawn = "";
  let update = () => {};

  const put = (/** @type {HTMLElement} */ view) => {
    fill(element, view, warnings);
    if (element.getBoundingClientRect().top > innerHeight * 0.6) element.scrollIntoView({ block: "start" });
  };
  const draw = () => {
    warnings.textContent = [...new Set(shown?.runs.flatMap((run) => run.warnings ?? []))].join("; ");
    const now = shown ? `${shown.id} ${viewOf(shown)}` : "";
    if (now === drawn) return update();
    drawn = now;
    update = () => {};
    put(shown ? view(shown) : (createSample(bench) ?? empty()));
    update();
  };
  const all = () => queue.all().flatMap((plate) => imagesOf(bench.model, plate).filter(({ file }) => !file.gone));
  const onImages = actsOn(bench, { all, put, back: () => redraw(), lost: (plate) => queue.save(plate) });
  const redraw = () => {
    drawn = "again";
    draw();
  };
  const use = (/** @type {Values} */ values, /** @type {string} */ words) =>
    bench.write(values, `The form has ${words} now.`);

  /** @param {Plate} plate */
  const view = (plate) => {
    const kind = viewOf(plate);
    const [cancel, again] = [() => acts.cancel(plate), () => acts.again(plate)];
    if (kind === "sheet") return following(createSheet(bench.model, plate, queue, { cancel, again, use }));
    if (kind === "progress")
      return following(createProgress(bench.model, plate, () => queue.live(plate.runs[0]), cancel));
    if (kind === "result") return showResult(bench.model, plate, onImages).element;
    if (kind === "cancelled") return empty("Cancelled; nothing was charged.", retry(again, "Make it after all"));
    return failed(plate, again);
  };
  /** @param {{element: HTMLElement, update: () => void}} made */
  const following = (made) => {
    update = made.update;
    return made.element;
  };
  /**
   * @param {Plate} plate
   * @param {() => void} again
   */
  const failed = (plate, again) => {
    const [{ error: message = "It failed.", advice }] = plate.runs;
    return h(
      "div.failed",
      {},
      h("p.hint", {}, titleOf(bench.model, plate)),
      h("div.refusal", { role: "alert" }, inLines({ message, advice })),
      h("p.hint", {}, "Nothing was charged."),
      h(
        "div.row",
        {},
        currentKey() ? retry(again, "Try again") : keyButton(again),
        h("button.quiet", { type: "button", onclick: () => use(plate.values, "its settings") }, "Use its settings"),
        h("button.quiet", { type: "button", onclick: () => acts.dismiss(plate) }, "Dismiss"),
      ),
    );
  };
  return {
    element,
    shown: () => shown,
    /** @param {Plate | null} plate */
    show(plate) {
      shown = plate;
      draw();
    },
    draw,
    /** @param {string} words why there is nothing to show */
    tell(words) {
      shown = null;
      drawn = "";
      put(empty(words));
    },
  };
}

/**
 * @param {Plate} plate
 * @returns {"sheet" | "progress" | "result" | "failed" | "cancelled"}
 */
function viewOf(plate) {
  if (plate.varied) return "sheet";
  const state = stateOf(plate);
  if (state === "done") return "result";
  return state === "failed" || state === "cancelled" ? state : "progress";
}

/**
 * @param {() => void} again
 * @param {string} words
 */
const retry = (again, words) => h("button", { type: "button", onclick: again }, icon("again"), words);

/**
 * What the stage shows before there is an image.
 * @param {string} words
 * @param {HTMLElement} [button]
 */
function empty(words = "Your image is made here, while you wait.", button) {
  return h("div.empty", {}, h("div.plate.blank", {}, icon("camera")), h("p", { role: "status" }, words), button);
}
