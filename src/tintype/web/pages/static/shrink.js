/** An image made fit to be sent: no larger than models use, and in a format that the server reads. */
import { h } from "./dom.js";

/** Pixels of the longest side that is sent: no model draws more. */
const LONGEST = 2048;
const QUALITY = 0.92;
const HEIC =
  "This is an iPhone photo (HEIC), which this browser can't show: save it as JPEG, or set your iPhone to " +
  "“Most Compatible” (Settings, Camera, Formats).";

/**
 * The file itself where it is small enough, else a smaller copy, upright, its transparency kept → what to send, and
 * what was done to it. Throws where it can't be sent.
 * @param {File | Blob} file
 * @param {string} url where the browser has it
 * @param {Api.InputLimits} limits
 * @returns {Promise<{ blob: Blob, words: string }>}
 */
export async function fit(file, url, limits) {
  const reads = limits.formats.join(", ");
  if (file.type && !file.type.startsWith("image/"))
    throw new Error(`This file is no image that this server reads (${reads}).`);
  if (!file.size) throw new Error("This file is empty.");
  const image = await decoded(url);
  if (!image && (await isHeic(file))) throw new Error(HEIC);
  if (!image) return { blob: inLimits(file, limits.max_bytes), words: "" };
  const { naturalWidth: width, naturalHeight: height } = image;
  const known = limits.formats.some((format) => file.type === `image/${format.toLowerCase()}`);
  const large = Math.max(width, height) > LONGEST || width * height > limits.max_pixels;
  if (known && !large && file.size <= limits.max_bytes) return { blob: file, words: "" };
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const [wide, high] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const blob = await drawn(image, wide, high, /^image\/(jpeg|hei[cf])$/.test(file.type) ? "image/jpeg" : "image/webp");
  if (!blob) return { blob: inLimits(file, limits.max_bytes), words: "" };
  const words = large ? `${width} × ${height}, made smaller to ${wide} × ${high}.` : "Saved in a format that is read.";
  return { blob: inLimits(blob, limits.max_bytes), words };
}

/**
 * @param {Blob} blob
 * @param {number} most bytes
 */
function inLimits(blob, most) {
  if (blob.size <= most) return blob;
  throw new Error(`This file has ${megabytes(blob.size)} MB: at most ${megabytes(most)} MB can be sent.`);
}

/** @param {number} bytes */
const megabytes = (bytes) => Number((bytes / 2 ** 20).toPrecision(3));

/**
 * The image as the browser shows it; null where it can't.
 * @param {string} url
 */
export async function decoded(url) {
  const image = h("img", { src: url, alt: "" });
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  }
}

/**
 * @param {HTMLImageElement} image
 * @param {number} width
 * @param {number} height
 * @param {string} type
 * @returns {Promise<Blob | null>}
 */
function drawn(image, width, height, type) {
  const canvas = h("canvas", { width, height });
  const pen = canvas.getContext("2d");
  if (!pen) return Promise.resolve(null);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, 0, 0, width, height);
  // A browser that can't write WebP writes PNG.
  return new Promise((resolve) => canvas.toBlob(resolve, type, QUALITY));
}

/**
 * By its name, its type, or its first bytes.
 * @param {File | Blob} file
 */
async function isHeic(file) {
  if (/^image\/hei[cf]/.test(file.type) || (file instanceof File && /\.hei[cf]$/i.test(file.name))) return true;
  return /^....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)/s.test(latin(await file.slice(0, 12).arrayBuffer()));
}

/**
 * One character for each byte.
 * @param {ArrayBuffer} bytes
 */
export const latin = (bytes) => new TextDecoder("latin1").decode(bytes);
