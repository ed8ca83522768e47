/** Tabs, after the pattern of the ARIA authoring practices; the open one stands in the address. */
import { fill, h } from "./dom.js";

/** Tabs out of [id, title, draw] triples; `draw()` → the panel's content, asked for when its tab is first opened. */
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
  const open = (wanted, written) => {
    const place = Math.max(
      0,
      tabs.findIndex(([id]) => id === wanted),
    );
    tabs.forEach(([, , draw], index) => {
      const chosen = index === place;
      buttons[index].setAttribute("aria-selected", String(chosen));
      buttons[index].tabIndex = chosen ? 0 : -1;
      panels[index].hidden = !chosen;
      if (chosen) show(draw, panels[index]);
    });
    if (written)
      history.replaceState(null, "", `${place ? `?tab=${tabs[place][0]}` : location.pathname}${location.hash}`);
    return place;
  };
  const list = h(
    "div.tabs",
    {
      role: "tablist",
      "aria-label": name,
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
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

/** Fill a panel, or say in it why it can't be filled. */
async function show(draw, panel) {
  try {
    await draw(panel);
  } catch (error) {
    fill(panel, h("p", { role: "alert" }, error.message));
  }
}
