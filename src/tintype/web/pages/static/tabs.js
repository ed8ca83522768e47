/** Tabs, after the pattern of the ARIA authoring practices; the open one stands in the address. */
import { fill, h } from "./dom.js";

const STEPS = new Map([
  ["ArrowRight", 1],
  ["ArrowLeft", -1],
]);

/**
 * Draws a tab's panel, each time that it is opened.
 * @typedef {(panel: HTMLElement) => unknown} Draw
 */

/**
 * Tabs out of [id, title, draw] triples → the list of tabs, and their panels.
 * @param {string} name
 * @param {[id: string, title: string, draw: Draw][]} tabs
 */
export function createTabs(name, tabs) {
  const buttons = tabs.map(([id, title]) =>
    h(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${id}`,
        "aria-controls": `panel-${id}`,
        onclick: () => open(id, true),
      },
      title,
    ),
  );
  const panels = tabs.map(([id]) =>
    h("section.panel", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, hidden: true }),
  );
  /**
   * @param {string | null} wanted an id; the first tab where there is none such
   * @param {boolean} written whether the address is to name it
   */
  const open = (wanted, written) => {
    const found = tabs.findIndex(([id]) => id === wanted);
    const place = Math.max(0, found);
    tabs.forEach(([, , draw], index) => {
      const chosen = index === place;
      buttons[index].setAttribute("aria-selected", String(chosen));
      buttons[index].tabIndex = chosen ? 0 : -1;
      panels[index].hidden = !chosen;
      if (chosen) show(draw, panels[index]);
    });
    const query = place ? `?tab=${tabs[place][0]}` : location.pathname;
    if (written) history.replaceState(null, "", query + location.hash);
    return place;
  };
  const list = h(
    "div.tabs",
    {
      role: "tablist",
      "aria-label": name,
      onkeydown: (event) => {
        const step = STEPS.get(event.key);
        if (!step) return;
        const now = buttons.findIndex((button) => button.tabIndex === 0);
        buttons[open(tabs[(now + step + tabs.length) % tabs.length][0], true)].focus();
      },
    },
    buttons,
  );
  open(new URLSearchParams(location.search).get("tab"), false);
  return [list, ...panels];
}

/**
 * Fill a panel, or say in it why it can't be filled.
 * @param {Draw} draw
 * @param {HTMLElement} panel
 */
async function show(draw, panel) {
  try {
    await draw(panel);
  } catch (error) {
    fill(panel, h("p", { role: "alert" }, /** @type {Error} */ (error).message));
  }
}
