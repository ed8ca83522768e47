/** A contact sheet as a file: images in rows, their values below. */
import { h } from "./dom.js";
import { save } from "./images.js";

/** Pixels of a cell, of the space between, and of the words below. */
const [CELL, GAP, WORDS] = [384, 16, 40];

/**
 * Draw a sheet into a file and have the browser save it.
 * @param {{words: string, image: HTMLImageElement}[]} made
 * @param {string} title
 * @param {string} slug
 */
export async function saveSheet(made, title, slug) {
  await Promise.all(made.map(({ image }) => image.decode()));
  const columns = Math.ceil(Math.sqrt(made.length)) > 2 ? 4 : made.length;
  const rows = Math.ceil(made.length / columns);
  const canvas = h("canvas", { width: GAP + columns * (CELL + GAP), height: WORDS + GAP + rows * (CELL + WORDS) });
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = "#f7f2e9";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "#241d15";
  pen.font = "16px Georgia, serif";
  pen.fillText(fitted(pen, title, canvas.width - 2 * GAP), GAP, 30);
  for (const [place, { words, image }] of made.entries()) {
    const [x, y] = [GAP + (place % columns) * (CELL + GAP), WORDS + Math.floor(place / columns) * (CELL + WORDS)];
    paste(pen, image, x, y);
    pen.fillText(words, x, y + CELL + 24, CELL);
  }
  canvas.toBlob((blob) => blob && save(blob, `${slug}-strip.png`), "image/png");
}

/**
 * As much of a text as fits into a width.
 * @param {CanvasRenderingContext2D} pen
 * @param {string} text
 * @param {number} width pixels
 */
function fitted(pen, text, width) {
  let short = text.slice(0, 400);
  while (pen.measureText(short).width > width) short = `${short.slice(0, -2)}…`;
  return short;
}

/**
 * An image as large as its cell lets it be.
 * @param {CanvasRenderingContext2D} pen
 * @param {HTMLImageElement} image
 * @param {number} x
 * @param {number} y
 */
function paste(pen, image, x, y) {
  const scale = Math.min(CELL / image.naturalWidth, CELL / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  pen.drawImage(image, x + (CELL - width) / 2, y + (CELL - height) / 2, width, height);
}
