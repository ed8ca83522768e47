/** Elements of the page, built so that no text can ever be taken for HTML. */
import { at } from "./paths.js";

const ADDRESSES = ["href", "src"];

/**
 * An element with attributes, listeners (`onclick`) and children; strings become text nodes, null is left out.
 * An `href` or `src` that begins with a slash is a path of the server.
 * @template {string} Tag
 * @param {Tag} tag a tag name, with classes after points: `p.hint`
 * @param {Attributes} attributes
 * @param {...(Child | Child[])} children
 * @returns {ElementOf<Tag>}
 */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) put(element, key, value);
  element.append(...nodes(children));
  return /** @type {ElementOf<Tag>} */ (element);
}

/**
 * @param {HTMLElement} element
 * @param {string} key
 * @param {Attributes[string]} value
 */
function put(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (typeof value === "function") element.addEventListener(key.slice(2), value);
  else if (key === "value" && "value" in element) element.value = value;
  else element.setAttribute(key, value === true ? "" : address(key, String(value)));
}

/**
 * @param {string} key
 * @param {string} value
 */
const address = (key, value) => (ADDRESSES.includes(key) && value.startsWith("/") ? at(value) : value);

/**
 * What of some children is put into the page.
 * @param {(Child | Child[])[]} children
 */
const nodes = (children) =>
  children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));

/**
 * Tell an element, as `--ratio`, how wide an image is for its height, once that is loaded.
 * @param {HTMLImageElement} image
 * @param {HTMLElement} element
 */
export function tellRatio(image, element = image) {
  const tell = () => element.style.setProperty("--ratio", String(image.naturalWidth / image.naturalHeight));
  image.addEventListener("load", tell);
}

/**
 * One of the drawings of this server.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  return draw("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" }, draw("path", { d: ICONS[name] }));
}

/**
 * A button with a drawing and words.
 * @param {keyof typeof ICONS} name
 * @param {string} words
 * @param {(event: MouseEvent) => unknown} act
 * @param {Attributes} more
 */
export const tool = (name, words, act, more = {}) =>
  h("button.tool", { type: "button", onclick: act, ...more }, icon(name), words);

/**
 * An element of SVG, with text that is never taken for more.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} content
 */
export function draw(tag, attributes, ...content) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...content);
  return element;
}

const ICONS = {
  dice: "M5.5 3.5h9a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-9a2 2 0 0 1-2-2v-9a2 2 0 0 1 2-2zM7 7h.01M10 10h.01M13 13h.01",
  download: "M10 3v9m-4-4 4 4 4-4M4 16h12",
  again: "M15.5 8a6 6 0 1 0 .3 4M16 4v4h-4",
  link: "M8.5 11.5l3-3M9 6l1.5-1.5a3.5 3.5 0 0 1 5 5L14 11M11 14l-1.5 1.5a3.5 3.5 0 0 1-5-5L6 9",
  input: "M4 16h12M10 13V4m-4 4 4-4 4 4",
  compare: "M10 3v14M3.5 5.5h4v9h-4zM12.5 5.5h4v9h-4z",
  copy: "M7 7h9v9H7zM4 13V4h9",
  camera: "M3 6h3.5L8 4h4l1.5 2H17v10H3zM10 8a3 3 0 1 0 0 6 3 3 0 0 0 0-6",
  close: "M5 5l10 10M15 5L5 15",
  edit: "M4 16l1-4 8.5-8.5 3 3L8 15zM12 5l3 3",
  key: "M7.5 16a3.5 3.5 0 1 1 0-7 3.5 3.5 0 0 1 0 7zM10 10l6-6M13.5 6.5l2 2",
  undo: "M4.5 8a6 6 0 1 1-.3 4M4 4v4h4",
  invert: "M10 3.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13M10 3.5v13M12.5 5v10M15 7v6",
  larger: "M12 3.5h4.5V8M16.5 3.5L11.5 8.5M8 16.5H3.5V12M3.5 16.5l5-5",
  pin: "M7 3.5h6M8 3.5v5l-2.5 3h9L12 8.5v-5M10 11.5V17",
  strip: "M2.5 5h15v10h-15zM7.5 5v10M12.5 5v10",
  star: "M10 3l2.1 4.6 5 .6-3.7 3.4 1 5-4.4-2.5-4.4 2.5 1-5L2.9 8.2l5-.6z",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6M8.5 9v4M11.5 9v4",
  select: "M3.5 3.5h13v13h-13zM6.5 10l2.5 2.5 4.5-5",
  into: "M16.5 10H7.5m4-4-4 4 4 4M3.5 4v12",
  before: "M12.5 4l-6 6 6 6",
  next: "M7.5 4l6 6-6 6",
  sliders: "M3 6h14M3 14h14M7 4v4M13 12v4",
};

/**
 * Replace all that an element holds.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export const fill = (element, ...children) => element.replaceChildren(...nodes(children));

let count = 0;
/**
 * An id that no other element of the page has.
 * @param {string} name
 */
export function unique(name) {
  count += 1;
  return `${name}-${count}`;
}
