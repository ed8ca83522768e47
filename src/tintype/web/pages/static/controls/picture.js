/** The input picture: dropped, pasted, chosen, taken with the camera, a sample, or an address. */
import { get, send } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { local, server } from "../paths.js";
import { duration, label } from "../words.js";
import { takePhoto } from "./camera.js";

const SAMPLES = ["/sd-img2img-input.jpeg", "/sd3-img2img-ip.jpg", "/sd3-turbo-i2i-input.jpg"];
const NAMES = ["Landscape", "Portrait", "Figure"];

/** @type {MakeControl} */
export function picture(field, id, changed) {
  const address = h("input", {
    id,
    type: "text",
    inputmode: "url",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "https://… or a picture from below",
  });
  const view = h("div.view");
  const note = h("p.hint", { role: "status" });
  const file = h("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    "aria-label": `${label(field.name)}: choose a file`,
  });
  const zone = h(
    "div.drop",
    {},
    view,
    h(
      "div.ways",
      {},
      address,
      h(
        "div.row",
        {},
        h("button.quiet", { type: "button", onclick: () => file.click() }, icon("input"), "Choose a file"),
        h("button.quiet", { type: "button", onclick: () => photograph() }, icon("camera"), "Camera"),
      ),
      h(
        "div.samples",
        { role: "group", "aria-label": "Samples of this server" },
        SAMPLES.map((path, place) =>
          h(
            "button",
            {
              type: "button",
              title: `Sample: ${NAMES[place]}`,
              "aria-label": `Sample: ${NAMES[place]}`,
              onclick: () => put(path),
            },
            h("img", { src: path, alt: "", loading: "lazy" }),
          ),
        ),
      ),
      note,
    ),
    file,
  );

  const write = (/** @type {Value} */ value) => {
    address.value = String(value ?? "");
    note.textContent = "";
    show();
  };
  const put = (/** @type {string} */ path) => {
    write(path);
    changed();
  };
  const show = () => {
    const shown = preview(address.value.trim());
    fill(
      view,
      shown
        ? h("img", { src: shown, alt: "The input picture" })
        : h("p.hint", {}, address.value.trim() ? "The server fetches it when it runs" : "Drop or paste a picture"),
    );
    view
      .querySelector("img")
      ?.addEventListener("error", () => fill(view, h("p.hint", {}, "This picture is not there")));
  };
  const upload = async (/** @type {Blob} */ blob) => {
    const { file_urls: urls } = await send("/upload-asset", { data_urls: [await asDataUrl(blob)] });
    const { kept_seconds: kept } = await get("/about.json");
    write(local(urls[0]));
    note.textContent = `Uploaded; kept for ${duration(kept.upload)}.`;
    changed();
  };
  const take = async (/** @type {Blob | undefined} */ blob) => {
    note.textContent = blob ? "Uploading …" : "That is no picture.";
    try {
      if (blob) await upload(blob);
    } catch (error) {
      note.textContent = /** @type {Error} */ (error).message;
    }
  };
  const photograph = async () => {
    const photo = await takePhoto();
    if (photo) await take(photo);
  };
  address.addEventListener("input", () => {
    show();
    changed();
  });
  file.addEventListener("change", () => {
    take(file.files?.[0]);
    file.value = "";
  });
  listen(zone, take);
  return { element: zone, input: address, read: () => address.value.trim(), write };
}

/**
 * Pictures that are dropped on the zone, or pasted anywhere on the page.
 * @param {HTMLElement} zone
 * @param {(blob: Blob | undefined) => void} take
 */
function listen(zone, take) {
  const over = (/** @type {Event} */ event) => {
    event.preventDefault();
    zone.classList.toggle("over", event.type !== "dragleave");
  };
  for (const type of ["dragenter", "dragover", "dragleave"]) zone.addEventListener(type, over);
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(pictureIn(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => {
    const found = zone.isConnected && pictureIn(event.clipboardData);
    if (!found) return;
    event.preventDefault();
    take(found);
  });
}

/** @param {DataTransfer | null} transfer */
const pictureIn = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));

/**
 * What can be shown without asking another server; empty where there is nothing.
 * @param {string} text
 */
function preview(text) {
  if (/^\/(?!\/)/.test(text) || text.startsWith("data:image/")) return text;
  return text.startsWith(`${server}/`) ? local(text) : "";
}

/**
 * @param {Blob} blob
 * @returns {Promise<unknown>}
 */
const asDataUrl = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The file can't be read."));
    reader.readAsDataURL(blob);
  });
