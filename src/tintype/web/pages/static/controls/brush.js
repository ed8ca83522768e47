/** A brush on a layer: with a mouse, a finger or a pen, and by keyboard; its tools; and a larger view of both. */
import { openDialog } from "../dialog.js";
import { fill, h, icon, unique } from "../dom.js";

/** Parts of an image's shorter side: the brush at first, and at most. */
const [FIRST, MOST] = [0.15, 0.6];
/** What `[` and `]` multiply its size by, and arrow keys move it by. */
const [GROW, MOVE] = [1.25, 0.5];
/** A pen's other end, in a pointer event's `buttons`. */
const PEN_ERASER = 32;

/** @typedef {import("./layer.js").Point} Point */

/**
 * A brush: its `element`; `show` for another image below the layer, or another size of it; `hide` for none.
 * @param {import("./layer.js").Layer} layer
 * @param {string} id of the canvas
 * @param {(words: string) => void} changed called after each step, with what was done
 * @param {HTMLElement} note what is said of the mask, for those who can't see it too
 * @param {HTMLElement} more a further tool, of use without an image too
 */
export function createBrush(layer, id, changed, note, more) {
  const say = (/** @type {string} */ words) => {
    note.textContent = words;
  };
  const tip = createTip(layer.canvas, say);
  const modes = createModes(say);
  const acts = createActs(layer, tip, modes, changed, say);
  listen(layer.canvas, { ...acts, aim: tip.aim });
  shortcuts(layer.canvas, {
    "[": () => tip.resize(1 / GROW),
    "]": () => tip.resize(GROW),
    e: modes.toggle,
    z: acts.undo,
    i: acts.invert,
    " ": acts.dab,
    ArrowLeft: () => tip.move(-1, 0),
    ArrowRight: () => tip.move(1, 0),
    ArrowUp: () => tip.move(0, -1),
    ArrowDown: () => tip.move(0, 1),
  });
  const about = { id, tabindex: "0", role: "application", "aria-keyshortcuts": "[ ] E Z I Space" };
  for (const [name, value] of Object.entries(about)) layer.canvas.setAttribute(name, value);

  const below = h("div.below");
  const frame = h("div.frame", {}, below, layer.canvas, tip.ring);
  const larger = tool("larger", "Larger", () => enlarge(board, larger));
  const tools = h(
    "div.row",
    {},
    tool("undo", "Undo", acts.undo),
    tool("invert", "Invert", acts.invert),
    tool("close", "Clear", acts.clear),
    larger,
  );
  const work = h(
    "div.board",
    { hidden: true },
    h("div.row", {}, modes.element, h("label.size", { for: tip.slider.id }, "Size"), tip.slider),
    frame,
    tools,
    keys(),
  );
  const board = h("div.board", {}, work, note, more);
  return {
    element: h("div", {}, board),
    shown: () => !work.hidden,
    hide() {
      work.hidden = true;
      note.after(more);
    },
    /** @param {HTMLImageElement | null} image */
    show(image) {
      work.hidden = false;
      tools.append(more);
      fill(below, image);
      frame.style.setProperty("--shape", String(layer.canvas.width / layer.canvas.height));
      tip.fit();
    },
  };
}

/**
 * @param {Parameters<typeof icon>[0]} name
 * @param {string} words
 * @param {() => void} act
 */
const tool = (name, words, act) =>
  h("button.quiet", { type: "button", "data-tool": name, onclick: act }, icon(name), words);

/** @typedef {ReturnType<typeof createTip>} Tip */

/**
 * How large the brush is, and where.
 * @param {HTMLCanvasElement} canvas
 * @param {(words: string) => void} say
 */
function createTip(canvas, say) {
  /** @type {Point} */
  let at = [0, 0];
  const ring = h("span.ring", { "aria-hidden": "true" });
  const slider = h("input", { id: unique("size"), type: "range", min: 1, step: 1, oninput: () => aim() });
  const size = () => Number(slider.value);
  const aim = (to = at) => {
    at = to;
    const part = (/** @type {number} */ pixels, /** @type {number} */ whole) => `${(100 * pixels) / whole}%`;
    ring.style.left = part(at[0], canvas.width);
    ring.style.top = part(at[1], canvas.height);
    ring.style.width = part(size(), canvas.width);
    slider.style.setProperty("--filled", part(size(), Number(slider.max)));
  };
  return {
    ring,
    slider,
    size,
    at: () => at,
    aim,
    /** @param {number} factor */
    resize(factor) {
      slider.value = String(factor > 1 ? Math.ceil(size() * factor) : Math.floor(size() * factor));
      aim();
      say(`Brush: ${size()} pixels`);
    },
    /**
     * @param {number} x steps to the right
     * @param {number} y steps down
     */
    move(x, y) {
      const far = Math.max(1, size() * MOVE);
      const within = (/** @type {number} */ place, /** @type {number} */ whole) => Math.min(whole, Math.max(0, place));
      aim([within(at[0] + x * far, canvas.width), within(at[1] + y * far, canvas.height)]);
    },
    /** For a canvas of another size. */
    fit() {
      const side = Math.min(canvas.width, canvas.height);
      const most = String(Math.max(2, Math.round(side * MOST)));
      if (slider.max === most) return;
      slider.max = most;
      slider.value = String(Math.max(1, Math.round(side * FIRST)));
      aim([canvas.width / 2, canvas.height / 2]);
    },
  };
}

/**
 * What is done to the layer; `other` is true for the eraser of a pen.
 * @param {import("./layer.js").Layer} layer
 * @param {Tip} tip
 * @param {ReturnType<typeof createModes>} modes
 * @param {(words: string) => void} changed
 * @param {(words: string) => void} say
 */
function createActs(layer, tip, modes, changed, say) {
  const stroke = (other = false) => layer.stroke(tip.size(), modes.erasing() || other);
  const painted = (other = false) => changed(modes.erasing() || other ? "Erased" : "Painted");
  return {
    stroke,
    painted,
    dab() {
      stroke()(tip.at());
      painted();
    },
    undo: () => (layer.undo() ? changed("Undone") : say("There is nothing to undo.")),
    invert() {
      layer.invert();
      changed("Inverted");
    },
    clear() {
      layer.clear();
      changed("Cleared");
    },
  };
}

/**
 * Whether the brush paints or erases.
 * @param {(words: string) => void} say
 */
function createModes(say) {
  const group = unique("brush");
  const [paint, erase] = ["Paint", "Erase"].map((value) =>
    h("input", { type: "radio", name: group, value, checked: value === "Paint" }),
  );
  return {
    element: h(
      "div.segments",
      { role: "radiogroup", "aria-label": "What the brush does" },
      [paint, erase].map((input) => h("label", {}, input, h("span", {}, input.value))),
    ),
    erasing: () => erase.checked,
    toggle() {
      const to = erase.checked ? paint : erase;
      to.checked = true;
      say(`The brush ${erase.checked ? "erases" : "paints"} now.`);
    },
  };
}

/**
 * Strokes with a mouse, a finger or a pen.
 * @param {HTMLCanvasElement} canvas
 * @param {Pick<ReturnType<typeof createActs>, "stroke" | "painted" | "undo"> & Pick<Tip, "aim">} acts
 */
function listen(canvas, { aim, stroke, painted, undo }) {
  /** @type {ReturnType<typeof stroke> | null} */
  let going = null;
  let erase = false;
  /** @returns {Point} */
  const place = (/** @type {PointerEvent} */ { clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [((clientX - left) * canvas.width) / width, ((clientY - top) * canvas.height) / height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || ![1, PEN_ERASER].includes(event.buttons)) return;
    erase = event.buttons === PEN_ERASER;
    canvas.setPointerCapture(event.pointerId);
    going = stroke(erase);
    aim(place(event));
    going(place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.isPrimary) return;
    aim(place(event));
    going?.(place(event));
  });
  canvas.addEventListener("pointerup", () => {
    if (going) painted(erase);
    going = null;
  });
  // The browser took the gesture for its own: two fingers zoom.
  canvas.addEventListener("pointercancel", () => {
    if (going) undo();
    going = null;
  });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Record<string, () => void>} acts by the key, in lower case
 */
function shortcuts(canvas, acts) {
  canvas.addEventListener("keydown", (event) => {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // Many keyboards have brackets behind AltGr, which is Ctrl and Alt to some systems.
    const plain = !(event.ctrlKey || event.metaKey) || event.getModifierState("AltGraph") || key === "z";
    if (!plain || !(key in acts)) return;
    event.preventDefault();
    acts[key]();
  });
}

/** The keys, for those who have some. */
function keys() {
  /** @type {[key: string, words: string][]} */
  const words = [
    ["[ ]", "size"],
    ["E", "erase"],
    ["Z", "undo"],
    ["I", "invert"],
    ["arrows, Space", "paint"],
  ];
  return h(
    "p.hint.keys",
    {},
    "With the image in focus: ",
    words.flatMap(([key, word]) => [h("kbd", {}, key), ` ${word} `]),
  );
}

/**
 * Show the board in a dialog for as long as that is open.
 * @param {HTMLElement} board
 * @param {HTMLElement} button what opened it, and is of no use in it
 */
function enlarge(board, button) {
  const home = board.parentElement;
  const done = h("button.primary", { type: "button", onclick: () => dialog.close() }, "Done");
  button.hidden = true;
  const dialog = openDialog("Mask", board, h("div.row", {}, done));
  dialog.classList.add("large");
  dialog.addEventListener("close", () => {
    home?.append(board);
    button.hidden = false;
    button.focus();
  });
}
