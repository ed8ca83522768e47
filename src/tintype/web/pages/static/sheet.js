/** A contact sheet: a strip's pictures with their values below, on the page and as a file. */
import { fill, h, icon } from "./dom.js";
import { named } from "./models.js";
import { createStop, said } from "./progress.js";
import { label } from "./words.js";

/** Pixels of a cell of the file, of the space between, and of the words below. */
const [CELL, GAP, WORDS] = [384, 16, 40];

/** @typedef {ReturnType<typeof createCell>} Cell */

/**
 * A sheet with `element`, one of `cells` per value (tell, show, refuse), `stopping()` and `done()`.
 * @param {Model} model
 * @param {Field} field the one that is varied
 * @param {Value[]} values
 * @param {Values} fixed what all have in common
 * @param {{cancel: () => void, use: (value: Values, words: string) => void}} acts
 */
export function createSheet(model, field, values, fixed, { cancel, use }) {
  const cells = values.map((value) =>
    createCell(`${label(field.means)} ${value}`, (words) => use({ [field.name]: value }, words)),
  );
  const stop = createStop(cancel);
  const save = h(
    "button.tool",
    { type: "button", hidden: true, onclick: () => download(cells, title, model.slug) },
    icon("download"),
    "Download the sheet",
  );
  const fact = (/** @type {string} */ means) => fixed[named(model, means)?.name ?? means];
  const title = `${model.title}${field.means === "seed" ? "" : `, seed ${fact("seed")}`}: ${fact("prompt")}`;
  const element = h(
    "div.contact",
    {},
    h(
      "ul.cells",
      { "aria-label": `${label(field.means)} compared` },
      cells.map((cell) => cell.element),
    ),
    h("div.row", {}, stop.element, save),
  );
  const done = () => {
    stop.element.hidden = true;
    save.hidden = !cells.some(({ image }) => image());
  };
  return { element, cells, stopping: stop.stopping, done };
}

/**
 * @param {string} words
 * @param {(words: string) => void} use
 */
function createCell(words, use) {
  const plate = h("div.plate", {});
  const state = h("span.hint", { role: "status" }, "Sending …");
  /** @type {HTMLImageElement | null} */
  let image = null;
  return {
    element: h(
      "li",
      {},
      plate,
      h("button.value", { type: "button", title: "Use this value in the form", onclick: () => use(words) }, words),
      state,
    ),
    words,
    image: () => image,
    /** @type {Tell} */
    tell(event, data) {
      if (!("image" in data)) state.textContent = said(event, data);
    },
    /** @param {Picture} picture */
    show(picture) {
      image = h("img", { src: picture.url, alt: words });
      fill(plate, h("a", { href: picture.url, target: "_blank" }, image));
      state.textContent = "";
    },
    /** @param {string} why */
    refuse(why) {
      state.textContent = why === "cancelled" ? "Cancelled" : why;
    },
  };
}

/**
 * Draw the sheet into a file and have the browser save it.
 * @param {Cell[]} cells
 * @param {string} title
 * @param {string} slug
 */
function download(cells, title, slug) {
  const made = cells.flatMap(({ words, image }) => {
    const drawn = image();
    return drawn ? [{ words, image: drawn }] : [];
  });
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
 * @param {Blob} blob
 * @param {string} name the file's
 */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  // The click has begun the download; the address is not needed any more when it has been read.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
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
 * A picture as large as its cell lets it be.
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
