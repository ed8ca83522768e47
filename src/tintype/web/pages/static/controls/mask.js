/** A mask over the input image: what is painted is repainted by the model, the rest stays. */
import { h, icon } from "../dom.js";
import { preview } from "../paths.js";
import { decoded } from "../shrink.js";
import { blobOf, upload } from "../upload.js";
import { createBrush } from "./brush.js";
import { Layer } from "./layer.js";

const NO_IMAGE = "Choose an input image; then paint over the part to repaint.";
const ELSEWHERE =
  "An image of another server can't be painted on: save it and choose its file, or choose a mask file of its size.";
const NOTHING = "Nothing is painted yet: paint over the part to repaint.";
/** By how much the shapes of an image and its mask may differ: sides are whole pixels. */
const TOLERANCE = 0.02;

/** @type {MakeControl} */
export const mask = (_field, id, changed) => new Mask(id, changed);

/** @implements {Control} */
class Mask {
  /**
   * @param {string} id
   * @param {() => void} changed
   */
  constructor(id, changed) {
    this.changed = changed;
    this.layer = new Layer();
    this.note = h("p.hint", { role: "status" }, NO_IMAGE);
    this.input = this.layer.canvas;
    /** The mask as an address or a data URL; null where it was painted since that was last asked for. */
    this.value = /** @type {string | null} */ ("");
    /** Whether the layer shows it. */
    this.laid = true;
    this.image = "";
    /** What is done to the layer once images are loaded, in the order in which it was asked for. */
    this.work = Promise.resolve();
    const file = h("input", { type: "file", accept: "image/*", hidden: true, "aria-label": "Choose a mask file" });
    file.addEventListener("change", () => {
      const [chosen] = file.files ?? [];
      if (chosen) this.next(() => this.takeFile(chosen));
      file.value = "";
    });
    const choose = h(
      "button.quiet",
      { type: "button", onclick: () => file.click() },
      icon("input"),
      "Choose a mask file",
    );
    this.brush = createBrush(this.layer, id, (words) => this.painted(words), this.note, choose);
    this.element = h("div.brush", {}, this.brush.element, file);
  }

  read() {
    this.value ??= this.layer.png();
    return this.value;
  }

  /** @param {Value} value */
  write(value) {
    const wanted = String(value ?? "");
    if (wanted === this.read()) return;
    this.value = wanted;
    this.laid = !wanted;
    this.next(() => this.show(wanted));
  }

  /** @param {Value} image */
  over(image) {
    const wanted = String(image ?? "");
    if (wanted === this.image) return;
    this.image = wanted;
    this.next(() => this.lay(wanted));
  }

  async ready() {
    await this.work;
    const value = this.read();
    if (!value.startsWith("data:")) return;
    const file = blobOf(value);
    if (!file) return;
    const path = await upload(file);
    // It may have been painted on meanwhile.
    if (this.value === value) this.value = path;
  }

  /** @param {() => Promise<void>} act */
  next(act) {
    this.work = this.work.then(act).catch(({ message }) => this.say(message, true));
  }

  /**
   * @param {string} words
   * @param {boolean} wrong whether it says why something was refused
   */
  say(words, wrong = false) {
    this.note.className = wrong ? "error" : "hint";
    this.note.textContent = words;
  }

  /**
   * Say what was done, and how much is painted now.
   * @param {string} words
   */
  painted(words) {
    const share = this.layer.share();
    this.value = share ? null : "";
    this.laid = true;
    this.say(`${words}. ${inWords(share)}`);
    this.changed();
  }

  /**
   * Put the layer over another image: what was painted stays where its size is the same.
   * @param {string} source
   */
  async lay(source) {
    const shown = preview(source);
    const image = shown ? await decoded(shown) : null;
    if (this.image !== source) return;
    if (!image) {
      this.brush.hide();
      const elsewhere = Boolean(source) && !shown;
      this.say(elsewhere ? ELSEWHERE : NO_IMAGE);
      if (elsewhere) this.reset(this.input.width, this.input.height);
      return;
    }
    const lost = this.resize(image.naturalWidth, image.naturalHeight);
    this.brush.show(image);
    this.say(lost ? "The mask was for an image of another size, and is gone." : inWords(this.layer.share()));
  }

  /**
   * Have the layer fit an image of this size → whether a mask was lost by that.
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    const [wide, high] = Layer.sizeFor(width, height);
    const { canvas } = this.layer;
    return canvas.width === wide && canvas.height === high ? false : this.reset(wide, high);
  }

  /**
   * An empty layer → whether a mask was lost by that. A mask that isn't shown yet will be.
   * @param {number} width
   * @param {number} height
   */
  reset(width, height) {
    this.layer.reset(width, height);
    const lost = this.laid && this.value !== "";
    if (!lost) return false;
    this.value = "";
    this.changed();
    return true;
  }

  /**
   * Show a mask that was written into the form.
   * @param {string} value
   */
  async show(value) {
    const shown = preview(value);
    const image = shown ? await decoded(shown) : null;
    if (this.value !== value) return;
    if (image) this.laid = this.take(image);
    else this.layer.reset(this.input.width, this.input.height);
    if (value && !image) this.say("The server fetches the mask when it runs.");
    else if (this.laid) this.say(inWords(this.layer.share()));
  }

  /** @param {File} file */
  async takeFile(file) {
    const url = URL.createObjectURL(file);
    const image = await decoded(url);
    const fits = image && this.take(image);
    URL.revokeObjectURL(url);
    if (!image) this.say("This file is no image that this browser can show.", true);
    if (fits) this.painted("The mask is taken from the file");
  }

  /**
   * Put a mask's pixels onto the layer → whether its shape is right.
   * @param {HTMLImageElement} image
   */
  take(image) {
    const { naturalWidth: width, naturalHeight: height } = image;
    if (!this.brush.shown()) {
      this.resize(width, height);
      this.brush.show(null);
    }
    const { canvas } = this.layer;
    const fits = Math.abs((width / height / canvas.width) * canvas.height - 1) < TOLERANCE;
    if (fits) this.layer.take(image);
    else this.say(`The mask is ${width} × ${height} pixels; the image has another shape.`, true);
    return fits;
  }
}

/**
 * How much of the image is painted.
 * @param {number} share
 */
function inWords(share) {
  if (!share) return NOTHING;
  return `${share < 0.01 ? "Less than 1" : Math.round(100 * share)} % of the image is repainted.`;
}
