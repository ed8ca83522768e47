/** A list to search in, after the combobox pattern of the ARIA authoring practices. */
import { fill, h } from "../dom.js";

/** @type {MakeControl} */
export function combobox(field, id, changed) {
  let chosen = field.default;
  let active = -1;
  const input = h("input", {
    id,
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    "aria-expanded": "false",
    "aria-controls": `${id}-list`,
    "aria-autocomplete": "list",
  });
  const list = h("ul.options", { id: `${id}-list`, role: "listbox", hidden: true, "aria-label": field.name });

  const shown = () => [...list.querySelectorAll("li")].filter((option) => option.dataset.value !== undefined);
  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    input.value = String(chosen ?? "");
  };
  const choose = (/** @type {Value} */ value) => {
    chosen = value;
    close();
    changed();
  };
  const mark = (/** @type {number} */ index) => {
    const options = shown();
    active = options.length ? (index + options.length) % options.length : -1;
    for (const [place, option] of options.entries()) option.classList.toggle("active", place === active);
    options[active]?.scrollIntoView({ block: "nearest" });
    if (active >= 0) input.setAttribute("aria-activedescendant", options[active].id);
    else input.removeAttribute("aria-activedescendant");
  };
  const open = (text = "") => {
    const found = field.choices.filter((value) => String(value).toLowerCase().includes(text.toLowerCase()));
    fill(
      list,
      found.map((value, place) =>
        h(
          "li",
          {
            id: `${id}-${place}`,
            role: "option",
            "data-value": value,
            "aria-selected": String(value === chosen),
            // Before the input's blur, which would close the list.
            onpointerdown: (event) => {
              event.preventDefault();
              choose(value);
            },
          },
          String(value),
        ),
      ),
    );
    if (!found.length)
      fill(
        list,
        h("li.none", { role: "option", "aria-disabled": "true", "aria-selected": "false" }, "Nothing like that"),
      );
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(Math.max(0, found.indexOf(chosen)));
  };

  const chooseActive = () => {
    const text = shown()[active]?.dataset.value;
    const value = field.choices.find((one) => String(one) === text);
    if (value !== undefined) choose(value);
  };
  const whileOpen = new Map([
    ["ArrowDown", () => mark(active + 1)],
    ["ArrowUp", () => mark(active - 1)],
    ["Enter", chooseActive],
    ["Escape", close],
  ]);
  input.addEventListener("keydown", (event) => {
    const act = whileOpen.get(event.key);
    if (!act || event.ctrlKey || (event.key === "Escape" && list.hidden)) return;
    event.preventDefault();
    event.stopPropagation();
    if (list.hidden) open();
    else act();
  });
  input.addEventListener("focus", () => input.select());
  input.addEventListener("click", () => list.hidden && open());
  input.addEventListener("input", () => open(input.value));
  input.addEventListener("blur", close);

  const write = (/** @type {Value} */ value) => {
    chosen = value;
    input.value = String(value ?? "");
  };
  return { element: h("div.combobox", {}, input, list), input, read: () => chosen, write };
}
