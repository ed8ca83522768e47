/** Which images the gallery shows: a form whose values stand in the address. */
import { h } from "./dom.js";

/** Milliseconds without a key press before a search begins. */
const TYPED = 300;
/** @typedef {"q" | "model" | "from" | "to" | "kept"} Filter */
/** @type {Filter[]} */
const NAMES = ["q", "model", "from", "to", "kept"];

/**
 * The filters that the address names.
 * @returns {ImageQuery}
 */
export function filtersOfAddress() {
  const sent = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, sent.get(name) ?? ""]));
}

/** @param {ImageQuery} query */
export const isFiltered = (query) => NAMES.some((name) => query[name]);

/**
 * The form; `changed` is called with every change's filters, when they stand in the address.
 * @param {Model[]} models
 * @param {(query: ImageQuery) => void} changed
 */
export function createFilters(models, changed) {
  const form = h("form.gallery-filters", { role: "search", "aria-label": "Images", onsubmit: read });
  const query = filtersOfAddress();
  const search = h("input", { name: "q", type: "search", placeholder: "Words of the prompt", maxlength: 200 });
  const model = h(
    "select",
    { name: "model" },
    h("option", { value: "" }, "All models"),
    models.map(({ slug, title }) => h("option", { value: slug }, title)),
  );
  const [from, to] = ["from", "to"].map((name) => h("input", { name, type: "date" }));
  const kept = h("input", { name: "kept", type: "checkbox", value: "true" });
  let waits = 0;
  search.addEventListener("input", () => {
    clearTimeout(waits);
    waits = setTimeout(read, TYPED);
  });
  for (const input of [model, from, to, kept]) input.addEventListener("change", () => read());
  form.append(
    h("label.search", {}, "Search", search),
    h("label", {}, "Model", model),
    h("label", {}, "From", from),
    h("label", {}, "To", to),
    h("label.check", {}, kept, "Kept only"),
  );
  write(query);

  /** @param {ImageQuery} values */
  function write(values) {
    for (const [name, input] of Object.entries({ q: search, model, from, to })) {
      input.value = values[/** @type {Filter} */ (name)] ?? "";
    }
    kept.checked = values.kept === "true";
  }
  /** @param {Event} [event] */
  function read(event) {
    event?.preventDefault();
    clearTimeout(waits);
    const sent = [...new FormData(form)].map(([name, value]) => [name, String(value).trim()]);
    const search = String(new URLSearchParams(sent.filter(([, value]) => value)));
    history.replaceState(null, "", search ? `?${search}` : location.pathname);
    changed(filtersOfAddress());
  }
  const clear = () => {
    write({});
    read();
  };
  return { element: form, clear };
}
