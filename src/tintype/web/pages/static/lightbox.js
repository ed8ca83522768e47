/** One image over the whole page, which is zoomed, with its settings beside it. */
import { openDialog } from "./dialog.js";
import { fill, h, icon } from "./dom.js";
import { shown } from "./image-view.js";
import { drawPanel, promptOf } from "./lightbox-panel.js";
import { createZoom } from "./lightbox-zoom.js";
import { inLines } from "./refusal.js";

/** What one press of + does. */
const CLOSER = 1.5;

/**
 * A lightbox.
 * @param {Viewing} viewing
 */
export function createLightbox(viewing) {
  /** @type {HTMLDialogElement | null} */
  let dialog = null;
  /** Of the image that is shown. */
  let name = "";
  const zoom = createZoom((by) => viewing.step(name, by));
  const panel = h("div.lightbox-panel");
  /** @type {[key: string, act: () => void][]} */
  const keys = [
    ["ArrowLeft", () => viewing.step(name, -1)],
    ["ArrowRight", () => viewing.step(name, 1)],
    ["+", () => zoom.by(CLOSER)],
    ["-", () => zoom.by(1 / CLOSER)],
    ["0", zoom.fit],
    ["1", () => zoom.actual()],
  ];
  const acts = new Map(keys);
  /** @param {KeyboardEvent} event */
  const pressed = (event) => {
    const { target } = event;
    const typing = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    const asked = document.querySelectorAll("dialog[open]").length > 1;
    const act = acts.get(event.key);
    if (!act || typing || asked || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  };
  /**
   * @param {string} text
   * @param {string} words
   * @param {string} key
   */
  const word = (text, words, key) =>
    h("button.quiet", { type: "button", title: words, "aria-label": words, onclick: acts.get(key) }, text);
  /**
   * @param {Parameters<typeof icon>[0]} drawn
   * @param {string} words
   * @param {(() => void) | undefined} act
   */
  const round = (drawn, words, act) =>
    h(`button.round.${drawn}`, { type: "button", title: words, "aria-label": words, onclick: act }, icon(drawn));
  const view = h(
    "div.lightbox-view",
    {},
    zoom.element,
    round("before", "Image before (←)", acts.get("ArrowLeft")),
    round("next", "Next image (→)", acts.get("ArrowRight")),
    h(
      "div.lightbox-tools",
      { role: "group", "aria-label": "Zoom" },
      word("−", "Smaller (-)", "-"),
      word("+", "Larger (+)", "+"),
      word("Fit", "The whole image (0)", "0"),
      word("100 %", "One pixel of the image for one of the screen (1)", "1"),
    ),
    round("close", "Close (Esc)", () => dialog?.close()),
  );
  const open = () => {
    const opened = openDialog("Image", view, panel);
    opened.className = "lightbox";
    opened.tabIndex = -1;
    document.addEventListener("keydown", pressed);
    opened.addEventListener("close", () => {
      document.removeEventListener("keydown", pressed);
      const last = name;
      [dialog, name] = [null, ""];
      viewing.closed(last);
    });
    return opened;
  };
  return {
    isOpen: () => Boolean(dialog),
    name: () => name,
    close: () => dialog?.close(),
    /** @param {Api.Image} image */
    show(image) {
      dialog ??= open();
      const gone = () => fill(panel, promptOf(image.prompt), h("p.hint", {}, `Seed ${image.seed}`));
      const whole = () => zoom.show(shown(image, image.prompt || "The image", { gone }));
      if (name !== image.name) whole();
      name = image.name;
      const held = document.activeElement?.id ?? "";
      drawPanel(panel, image, viewing, { put: zoom.show, back: whole });
      // What had the focus was drawn anew; the keys need it within the dialog.
      (document.getElementById(held) ?? dialog).focus();
    },
    /**
     * Say why an image can't be shown.
     * @param {string} wanted its name
     * @param {Refusal} reason
     */
    refuse(wanted, reason) {
      dialog ??= open();
      name = wanted;
      zoom.show(h("div.gone", { role: "alert" }, inLines(reason)));
      fill(panel);
    },
  };
}
