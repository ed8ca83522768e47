/** Images that are selected, and the bar that says what to do with all of them. */
import { fill, h, tool } from "./dom.js";
import { zip } from "./images.js";
import { createError } from "./refusal.js";

/**
 * The selection, whose bar is `element`.
 * @param {ReturnType<typeof import("./gallery-list.js").createImageList>} list
 * @param {(selected: Set<string> | null) => void} mark shows what is selected; null: nothing is being selected
 */
export function createSelection({ images, keep, remove }, mark) {
  /** @type {Set<string> | null} */
  let selected = null;
  /** Where a range begins. */
  let anchor = "";
  let mayChange = true;
  const element = h("div.selection", { role: "region", "aria-label": "Selected images", hidden: true });
  const count = h("p.count", { role: "status" });
  const error = createError();
  const chosen = () => images().filter(({ name }) => selected?.has(name));
  /**
   * @param {Parameters<typeof tool>[0]} name
   * @param {string} words
   * @param {() => unknown} act
   */
  const button = (name, words, act) =>
    tool(
      name,
      words,
      error.listener(async () => act()),
    );
  const all = button("select", "Select all shown", () => set(images().map(({ name }) => name)));
  const save = button("download", "Download as zip", () => zip(chosen().map(({ name }) => name)));
  const star = button("star", "Keep", () => keep(chosen(), true));
  const unstar = button("star", "Don't keep", () => keep(chosen(), false));
  const trash = button("trash", "Delete", () => remove(chosen()));
  const done = h("button.quiet", { type: "button", onclick: () => end() }, "Done");

  const draw = () => {
    const now = chosen();
    element.hidden = !selected;
    count.textContent = `${now.length} selected`;
    for (const act of [save, star, unstar, trash]) act.disabled = !now.length;
    star.hidden = now.length > 0 && now.every(({ kept }) => kept);
    unstar.hidden = !now.some(({ kept }) => kept);
    mark(selected);
  };
  /** @param {Iterable<string>} names */
  const set = (names) => {
    selected = new Set(names);
    draw();
  };
  const end = () => {
    selected = null;
    anchor = "";
    error.element.textContent = "";
    draw();
  };
  return {
    element,
    draw,
    end,
    isOn: () => Boolean(selected),
    begin: () => set(selected ?? []),
    /** @param {boolean} changes whether this key may keep and delete */
    allow(changes) {
      mayChange = changes;
      const words = h("p.hint", {}, "This key may only read: it keeps and deletes nothing.");
      fill(element, count, all, save, ...(mayChange ? [star, unstar, trash] : [words]), done, error.element);
    },
    /**
     * Select an image, or no longer; with `range`, all from the last one on.
     * @param {string} name
     * @param {boolean} range
     */
    toggle(name, range) {
      const names = images().map((image) => image.name);
      const [from, to] = [names.indexOf(anchor), names.indexOf(name)].sort((a, b) => a - b);
      const next = new Set(selected ?? []);
      if (range && from >= 0) for (const one of names.slice(from, to + 1)) next.add(one);
      else if (!next.delete(name)) next.add(name);
      anchor = name;
      set(next);
    },
    /** Delete what is selected, as its button does. */
    remove: () => mayChange && chosen().length && remove(chosen()),
  };
}
