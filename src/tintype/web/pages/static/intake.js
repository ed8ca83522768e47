/** What is dropped, pasted or dragged onto the page: a file, an image of this server, or another page's address. */
import { h } from "./dom.js";
import { local, server } from "./paths.js";
import { blobOf } from "./upload.js";

const NOTHING = "That is no image: drop or paste an image's file, or its address.";

/**
 * Take what is dropped anywhere on the page, or pasted; the browser never leaves the page for a file.
 * @param {string} words what dropping does
 * @param {(found: Found) => void} take
 * @param {(words: string) => void} refuse
 */
export function listen(words, take, refuse) {
  const overlay = h("div.dropping", { hidden: true, "aria-hidden": "true" }, h("p", {}, words));
  document.body.append(overlay);
  // What is dragged from one place of the page to another, and is no image: a link, or marked text.
  let inner = false;
  const wanted = (/** @type {DragEvent} */ { dataTransfer }) =>
    !inner && ["Files", "text/uri-list"].some((type) => dataTransfer?.types.includes(type));
  const over = (/** @type {DragEvent} */ event) => {
    if (!wanted(event)) return;
    event.preventDefault();
    const free = !document.querySelector("dialog[open]");
    overlay.hidden = !free;
    if (event.dataTransfer) event.dataTransfer.dropEffect = free ? "copy" : "none";
  };
  const end = () => {
    overlay.hidden = true;
    inner = false;
  };
  document.addEventListener("dragstart", ({ target, dataTransfer }) => {
    inner = !(
      target instanceof Element &&
      (target.matches("img") || own(dataTransfer?.getData("text/uri-list") ?? ""))
    );
  });
  document.addEventListener("dragenter", over);
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) overlay.hidden = true;
  });
  document.addEventListener("dragend", end);
  document.addEventListener("drop", (event) => {
    if (wanted(event)) {
      event.preventDefault();
      const found = contents(event.dataTransfer);
      if (!document.querySelector("dialog[open]")) found ? take(found) : refuse(NOTHING);
    }
    end();
  });
  document.addEventListener("paste", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const data = event.clipboardData;
    // Cells of a spreadsheet are text and an image: into a field goes the text.
    const text = data?.getData("text/plain").trim() ?? "";
    if (text && event.target instanceof Element && event.target.closest("input, textarea, [contenteditable]")) return;
    const found = contents(data) ?? address(text);
    if (!found) return;
    event.preventDefault();
    take(found);
  });
}

/**
 * What a drag or a clipboard carries; null where that is no image.
 * @param {DataTransfer | null} transfer
 * @returns {Found | null}
 */
function contents(transfer) {
  if (!transfer) return null;
  const addresses = [imageOf(transfer.getData("text/html")), firstLine(transfer.getData("text/uri-list"))];
  const path = addresses.map(own).find(Boolean);
  if (path) return { path };
  const files = [...transfer.files];
  const file = files.find(({ type }) => type.startsWith("image/")) ?? files[0];
  return file ? { file, of: files.length } : address(addresses.find(Boolean) ?? "");
}

/**
 * @param {string} text
 * @returns {Found | null}
 */
function address(text) {
  const path = own(text);
  if (path) return { path };
  if (/^data:image\//i.test(text)) {
    const file = blobOf(text);
    return file && { file, of: 1 };
  }
  return /^https?:\/\/\S+$/i.test(text) ? { link: text } : null;
}

/**
 * The path of an image of this server; empty for anything else.
 * @param {string} url
 */
function own(url) {
  if (!url.startsWith(`${server}/`)) return "";
  const path = local(url).replace(/[?#].*/, "");
  return /^\/(files\/[\w.-]+|[\w.-]+\.(jpe?g|png|webp|avif))$/.test(path) ? path : "";
}

/**
 * Where the first image of a piece of HTML is: dragged from a page, it may lie in a link to somewhere else.
 * @param {string} html
 */
const imageOf = (html) => new DOMParser().parseFromString(html, "text/html").querySelector("img")?.src ?? "";

/** @param {string} list addresses by lines, and comments */
const firstLine = (list) => list.split(/\r?\n/).find((line) => line && !line.startsWith("#")) ?? "";
