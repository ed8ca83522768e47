/** Says what is running and what is done to people who look elsewhere: in the title, on the icon, as a notification. */
import { h } from "./dom.js";
import { at } from "./paths.js";
import { remember, remembered } from "./remember.js";

const ASKED = "notify";

/** An announcer: `element`, the tick that asks for notifications; `running(count)`; and `done(words)`. */
export function createAnnouncer() {
  const [title, own] = [
    document.title,
    /** @type {HTMLLinkElement | null} */ (document.querySelector("link[rel=icon]")),
  ];
  const [plain, dotted] = [own?.href ?? "", at("/static/icon-done.svg")];
  let [count, done] = [0, ""];
  const draw = () => {
    document.title = done ? `Done: ${done}` : count ? `${count} running – ${title}` : title;
    if (own) own.href = done ? dotted : plain;
  };
  const seen = () => {
    if (document.hidden) return;
    done = "";
    draw();
  };
  for (const type of ["visibilitychange", "focus"]) addEventListener(type, seen, true);
  const tick = h("input", { type: "checkbox", id: "notify", checked: allowed() });
  const words = h("span.hint", { role: "status" });
  tick.addEventListener("change", async () => {
    remember(ASKED, null);
    words.textContent = "";
    if (!tick.checked) return;
    tick.checked = (await Notification.requestPermission()) === "granted";
    if (tick.checked) remember(ASKED, "yes");
    else words.textContent = "This browser doesn't allow it: see the settings of this page's address.";
  });
  return {
    // Browsers lend notifications to https and localhost only.
    element: h("div.notify", { hidden: !lent() }, h("label.inline", {}, tick, "Tell me when it's done"), words),
    /** @param {number} now */
    running(now) {
      count = now;
      draw();
    },
    /**
     * @param {string} what
     * @param {string} id of what is done: of several tabs with the same shelf, one notification is seen
     */
    done(what, id) {
      if (document.hasFocus() && !document.hidden) return;
      done = what;
      draw();
      if (tick.checked && allowed()) notify(what, plain, id);
    },
  };
}

const lent = () => isSecureContext && "Notification" in window;

/** Whether it was asked for, and the browser still allows it. */
const allowed = () => lent() && remembered(ASKED) === "yes" && Notification.permission === "granted";

/**
 * @param {string} what
 * @param {string} icon
 * @param {string} tag
 */
function notify(what, icon, tag) {
  try {
    new Notification(`Done: ${what}`, { icon, tag }).onclick = () => focus();
  } catch {
    // Android's browsers let service workers alone notify; the title tells as well.
  }
}
