/** The input image, a thumbnail with what changes it: by drop, paste, a file, the camera, a sample or an address. */
import { fill, h, icon } from "../dom.js";
import { listen } from "../intake.js";
import { preview } from "../paths.js";
import { label } from "../words.js";
import { takePhoto } from "./camera.js";
import { createSending } from "./sending.js";

const SAMPLES = ["/sd-img2img-input.jpeg", "/sd3-img2img-ip.jpg", "/sd3-turbo-i2i-input.jpg"];
const NAMES = ["Landscape", "Portrait", "Figure"];

/** @type {MakeControl} */
export function image(field, id, changed) {
  const address = h("input", {
    id,
    type: "text",
    inputmode: "url",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "https://… or a file's path here",
  });
  const view = h("div.view");
  const file = h("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    "aria-label": `${label(field.name)}: choose a file`,
  });
  const remove = h(
    "button.remove",
    { type: "button", title: "Remove the image", "aria-label": "Remove the image", onclick: () => put("") },
    icon("close"),
  );
  const samples = SAMPLES.map((path, place) =>
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
  );
  const change = h("summary", {}, "Change");
  const ways = h(
    "details.change",
    {},
    change,
    h(
      "div.ways",
      {},
      h("button.quiet", { type: "button", onclick: () => file.click() }, icon("input"), "Choose a file"),
      h("button.quiet", { type: "button", onclick: () => photograph() }, icon("camera"), "Camera"),
      h("div.samples", { role: "group", "aria-label": "Samples of this server" }, samples),
      address,
    ),
  );
  const zone = h("div.drop", {}, h("div.input-thumb", {}, view, remove), ways, file);
  const sending = createSending({
    show: (url) => show(url),
    put: (path) => put(path),
    back: () => show(),
  });

  const write = (/** @type {Value} */ value) => {
    sending.stop();
    address.value = String(value ?? "");
    show();
  };
  const put = (/** @type {string} */ path) => {
    write(path);
    ways.open = false;
    changed();
  };
  const show = (shown = preview(address.value.trim())) => {
    remove.hidden = !address.value.trim();
    change.textContent = remove.hidden ? "Choose" : "Change";
    fill(
      view,
      shown
        ? h("img", { src: shown, alt: "The input image" })
        : h("p.hint", {}, address.value.trim() ? "The server fetches it when it runs" : "Drop or paste an image"),
    );
    view.querySelector("img")?.addEventListener("error", () => fill(view, h("p.hint", {}, "This image is not there")));
  };
  const take = (/** @type {Found} */ found) => {
    ways.open = false;
    if ("file" in found) return sending.take(found.file, found.of);
    put("path" in found ? found.path : found.link);
    sending.say("path" in found ? "It is the input image now." : "The server fetches it when it runs.");
  };
  const photograph = async () => {
    const photo = await takePhoto();
    if (photo) take({ file: photo, of: 1 });
  };
  address.addEventListener("input", () => {
    sending.stop();
    show();
    changed();
  });
  file.addEventListener("change", () => {
    const [chosen] = file.files ?? [];
    if (chosen) take({ file: chosen, of: 1 });
    file.value = "";
  });
  const leave = (/** @type {Event} */ { target }) => {
    if (!ways.contains(/** @type {Node} */ (target))) ways.open = false;
  };
  ways.addEventListener("toggle", () => {
    if (ways.open) document.addEventListener("pointerdown", leave);
    else document.removeEventListener("pointerdown", leave);
  });
  ways.addEventListener("keydown", (event) => {
    // Enter in the address; on a button it presses that.
    const done = event.key === "Escape" || (event.key === "Enter" && event.target === address && !event.ctrlKey);
    if (!done || !ways.open) return;
    event.stopPropagation();
    event.preventDefault();
    ways.open = false;
    change.focus();
  });
  listen("Drop to use as input", take, sending.refuse);
  return {
    element: zone,
    input: address,
    said: sending.element,
    read: () => address.value.trim(),
    write,
    ready: sending.ready,
  };
}
