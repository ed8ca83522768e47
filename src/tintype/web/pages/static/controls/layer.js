/** What a mask is painted on: strokes and other steps, their undo, and the mask as a file. */
import { h } from "../dom.js";

/** Steps that can be undone, and points of one: a longer stroke is several steps. */
const [STEPS, POINTS] = [50, 4_000];
/** Pixels: as many as a model draws at most. The mask of a larger image has fewer than it, in the same shape. */
const PIXELS = 2048 * 2048;
/** What is to be repainted, as the page shows it; in the file it is white. */
const INK = { css: "#e5484d", rgb: [229, 72, 77] };

/** @typedef {CanvasRenderingContext2D} Pen */
/** @typedef {[x: number, y: number]} Point in pixels */
/**
 * Something that was done to the mask; `large` where it holds a mask's pixels.
 * @typedef {{draw: (pen: Pen) => void, large?: boolean}} Step
 */

/** A layer with its `canvas`: opaque where something is to be repainted, and transparent elsewhere. */
export class Layer {
  constructor() {
    this.canvas = h("canvas");
    this.pen = penOf(this.canvas);
    /** Steps that can be undone, the oldest first. */
    this.steps = /** @type {Step[]} */ ([]);
    /** All that can't be undone any more. */
    this.base = penOf(h("canvas"));
  }

  /**
   * The size of a mask for an image of this size.
   * @param {number} width
   * @param {number} height
   */
  static sizeFor(width, height) {
    const scale = Math.min(1, Math.sqrt(PIXELS / (width * height)));
    return [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  }

  /**
   * Empty, and of another size.
   * @param {number} width
   * @param {number} height
   */
  reset(width, height) {
    for (const canvas of [this.canvas, this.base.canvas]) [canvas.width, canvas.height] = [width, height];
    this.steps = [];
  }

  /**
   * Begin a stroke → what goes on with it to further points.
   * @param {number} size the brush's diameter in pixels
   * @param {boolean} erase
   */
  stroke(size, erase) {
    /** @type {Point[]} */
    let points = [];
    return (/** @type {Point} */ point) => {
      if (points.length && points.length < POINTS) {
        points.push(point);
        segment(this.pen, points, points.length - 1, size, erase);
        return;
      }
      const own = [...points.slice(-1), point];
      points = own;
      this.add({
        draw(pen) {
          for (const place of own.keys()) segment(pen, own, place, size, erase);
        },
      });
    };
  }

  invert() {
    const { width, height } = this.canvas;
    this.add({
      draw(pen) {
        pen.globalCompositeOperation = "xor";
        pen.fillStyle = INK.css;
        pen.fillRect(0, 0, width, height);
        pen.globalCompositeOperation = "source-over";
      },
    });
  }

  clear() {
    this.add({ draw: wipe });
  }

  /**
   * A mask that was made elsewhere, in its place: what is light in it is to be repainted.
   * @param {HTMLImageElement} image
   */
  take(image) {
    const { width, height } = this.canvas;
    const pen = penOf(h("canvas", { width, height }));
    pen.drawImage(image, 0, 0, width, height);
    const pixels = pen.getImageData(0, 0, width, height);
    inked(pixels.data);
    pen.putImageData(pixels, 0, 0);
    this.add({
      large: true,
      draw(onto) {
        wipe(onto);
        onto.drawImage(pen.canvas, 0, 0);
      },
    });
  }

  /** Take back the last step → whether there was one. */
  undo() {
    const last = this.steps.pop();
    wipe(this.pen);
    this.pen.drawImage(this.base.canvas, 0, 0);
    for (const { draw } of this.steps) draw(this.pen);
    return Boolean(last);
  }

  /** How much of it is painted, 0 to 1. */
  share() {
    const { width, height } = this.canvas;
    const { data } = this.pen.getImageData(0, 0, width, height);
    let painted = 0;
    for (let place = 3; place < data.length; place += 4) painted += data[place] > 127 ? 1 : 0;
    return painted / (width * height);
  }

  /** The mask as the data URL of a PNG, black and white. */
  png() {
    const { width, height } = this.canvas;
    const pen = penOf(h("canvas", { width, height }));
    pen.drawImage(this.canvas, 0, 0);
    for (const [how, colour] of /** @type {const} */ ([
      ["source-in", "#fff"],
      ["destination-over", "#000"],
    ])) {
      pen.globalCompositeOperation = how;
      pen.fillStyle = colour;
      pen.fillRect(0, 0, width, height);
    }
    return pen.canvas.toDataURL("image/png");
  }

  /** @param {Step} step */
  add(step) {
    step.draw(this.pen);
    this.steps.push(step);
    const large = this.steps.filter((one) => one.large);
    // Of the large ones only the last is kept, so that what can be undone is small.
    while (this.steps.length > STEPS || (large.length > 1 && this.steps.includes(large[0])))
      this.steps.shift()?.draw(this.base);
  }
}

/** @param {HTMLCanvasElement} canvas */
const penOf = (canvas) => /** @type {Pen} */ (canvas.getContext("2d", { willReadFrequently: true }));

/** @param {Pen} pen */
const wipe = (pen) => pen.clearRect(0, 0, pen.canvas.width, pen.canvas.height);

/**
 * The part of a stroke that leads to one of its points; of the first, a dot.
 * @param {Pen} pen
 * @param {Point[]} points
 * @param {number} to
 * @param {number} size
 * @param {boolean} erase
 */
function segment(pen, points, to, size, erase) {
  pen.globalCompositeOperation = erase ? "destination-out" : "source-over";
  [pen.strokeStyle, pen.fillStyle] = [INK.css, INK.css];
  [pen.lineWidth, pen.lineCap] = [size, "round"];
  pen.beginPath();
  if (to > 0) {
    pen.moveTo(...points[to - 1]);
    pen.lineTo(...points[to]);
    pen.stroke();
  } else {
    // A line without length has no ends to be round.
    pen.arc(...points[0], size / 2, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.globalCompositeOperation = "source-over";
}

/**
 * Ink where a mask's pixels are light, and nothing where they are dark or transparent.
 * @param {Uint8ClampedArray} data
 */
function inked(data) {
  const [red, green, blue] = INK.rgb;
  for (let place = 0; place < data.length; place += 4) {
    const light = 0.299 * data[place] + 0.587 * data[place + 1] + 0.114 * data[place + 2];
    data[place + 3] = light * data[place + 3] < 128 * 255 ? 0 : 255;
    [data[place], data[place + 1], data[place + 2]] = [red, green, blue];
  }
}
