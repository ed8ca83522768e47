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
 * One of the drawings of this server.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  return draw("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" }, draw("path", { d: ICONS[name] }));
}

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
  strip: "M2.5 5h15v10h-15zM7.5 5v10M12.5 5v10",
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
