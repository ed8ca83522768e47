/** A contact sheet: a strip's images with their values below. */
import { fill, h, icon, tool } from "./dom.js";
import { shown } from "./image-view.js";
import { nameFor } from "./models.js";
import { local } from "./paths.js";
import { active, stateOf, unfinished, valuesOf } from "./plates.js";
import { createStop, said } from "./progress.js";
import { inWords } from "./refusal.js";
import { saveSheet } from "./sheet-file.js";
import { label } from "./words.js";

/**
 * The view of a strip: its `element`, and `update()`.
 * @param {Model} model
 * @param {Plate} plate
 * @param {import("./queue.js").Queue} queue
 * @param {{cancel: () => void, again: () => void, use: (values: Values, words: string) => void}} acts
 */
export function createSheet(model, plate, queue, { cancel, again, use }) {
  const field = model.fields.find(({ name }) => name === plate.varied);
  const name = label(field?.means ?? plate.varied ?? "");
  const cells = plate.runs.map((run) =>
    createCell(run, `${name} ${run.value}`, () => use(valuesOf(plate, run), `${name.toLowerCase()} ${run.value}`)),
  );
  const stop = createStop(cancel);
  const retry = tool("again", "Try again what failed", again);
  const fact = (/** @type {string} */ means) => plate.values[nameFor(model, means)];
  const title = `${model.title}${field?.means === "seed" ? "" : `, seed ${fact("seed")}`}: ${fact("prompt")}`;
  const save = h(
    "button.tool.primary",
    {
      type: "button",
      onclick: () =>
        saveSheet(
          cells.flatMap((cell) => cell.drawn()),
          title,
          model.slug,
        ),
    },
    icon("download"),
    "Download the sheet",
  );
  const list = h(
    "ul.cells",
    { "aria-label": `${name} compared` },
    cells.map((cell) => cell.element),
  );
  const update = () => {
    for (const [place, run] of plate.runs.entries()) cells[place].update(queue.live(run));
    const [running, state] = [active(plate), stateOf(plate)];
    stop.element.hidden = !running;
    stop.stopping(plate.runs.some((run) => queue.live(run)?.stopping));
    save.hidden = running || state !== "done";
    retry.hidden = running || plate.runs.every((run) => run.state === "done");
  };
  update();
  return { element: h("div.contact", {}, list, h("div.row", {}, stop.element, save, retry)), update };
}

/**
 * @param {Run} run
 * @param {string} words
 * @param {() => void} use
 */
function createCell(run, words, use) {
  const plate = h("div.plate", {});
  const state = h("span.hint", { role: "status" });
  /** @type {HTMLImageElement | null} */
  let image = null;
  const draw = () => {
    const [file] = run.images ?? [];
    if (!file || image) return;
    image = shown(file, words);
    fill(plate, h("a", { href: local(file.url), target: "_blank" }, image));
  };
  return {
    element: h(
      "li",
      {},
      plate,
      h("button.value", { type: "button", title: "Use its settings", onclick: use }, words),
      state,
    ),
    /** Its image with its words, unless it is gone. */
    drawn: () => (image?.isConnected ? [{ words, image }] : []),
    /** @param {Live | null} live */
    update(live) {
      draw();
      if (unfinished(run)) state.textContent = live ? said(live.event, live.status) : "Sending …";
      else
        state.textContent =
          run.state === "cancelled" ? "Cancelled" : inWords({ message: run.error ?? "", advice: run.advice });
    },
  };
}
