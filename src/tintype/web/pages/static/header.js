/** What every page has: the bar above with the key and the credits, and the foot. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { currentKey, followTabs, forgetKey, isTest, keptKeys } from "./key.js";
import { askKey } from "./key-dialog.js";
import { below, here } from "./paths.js";
import { takeLinks } from "./sign-in.js";
import { setTheme, THEMES, theme } from "./theme.js";
import { exact, label, left } from "./words.js";
import { forgetWork } from "./workspace.js";

/** The page's own part of the shell. */
export const main = /** @type {HTMLElement} */ (document.querySelector("main"));
const bar = /** @type {HTMLElement} */ (document.querySelector(".bar"));
const foot = /** @type {HTMLElement} */ (document.querySelector(".foot"));

/**
 * Say why the page can't be drawn.
 * @param {Error} error
 */
export const showFailure = ({ message }) =>
  fill(main, h("div.lone", { role: "alert" }, h("h1", {}, "This page can't be drawn"), h("p", {}, message)));

/** Draw the bar and the foot; before that, the address is rid of a key in it. */
export function drawHeader() {
  takeLinks();
  followTabs();
  // For a file that is dropped where nothing takes it, the browser would leave the page.
  for (const type of /** @type {const} */ (["dragover", "drop"]))
    document.addEventListener(type, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
  /**
   * @param {string} path
   * @param {string} name
   */
  const link = (path, name) => h("a", { href: path, "aria-current": current(path) }, name);
  const own = link("/operator", "Operator");
  const place = h("div.purse");
  fill(
    bar,
    h(
      "a.brand",
      { href: "/", "aria-label": "tintype, to the models" },
      h("img", { src: "/static/icon.svg", alt: "", width: 26, height: 26 }),
      h("span", {}, "tintype"),
    ),
    h(
      "nav",
      { "aria-label": "Pages" },
      link("/", "Models"),
      link("/images", "Images"),
      link("/account", "Account"),
      own,
    ),
    place,
  );
  fill(
    foot,
    h(
      "p",
      {},
      "Images made while you wait, on this machine. ",
      h("a", { href: "/openapi.json" }, "OpenAPI description"),
      ". ",
      h("a", { href: "/verify" }, "Who made an image?"),
    ),
    themes(),
  );
  drawPurse(place, own);
  let kept = keptKeys();
  document.addEventListener("tintype:key", () => {
    // The work goes with its key.
    if (!currentKey()) forgetWork(kept);
    kept = keptKeys();
    drawPurse(place, own);
  });
  // A request that ended has released what it held, or was charged.
  document.addEventListener(
    "tintype:ended",
    () => currentKey() && get("/v1/get-user-credits").catch(() => showCredits(place, "?")),
  );
  document.addEventListener("tintype:credits", ({ detail }) => showCredits(place, detail));
}

/**
 * Whether an entry of the bar is this page, or the one above it: a model's page is one of the models'.
 * @param {string} path
 */
function current(path) {
  if (here(path)) return "page";
  return path === "/" && below("/models/") ? "true" : null;
}

/** Light or dark, by the reader's choice. */
const themes = () =>
  h(
    "div.segments.themes",
    { role: "radiogroup", "aria-label": "Theme" },
    THEMES.map((name) =>
      h(
        "label",
        {},
        h("input", { type: "radio", name: "theme", checked: name === theme(), onchange: () => setTheme(name) }),
        h("span", {}, label(name)),
      ),
    ),
  );

/**
 * The key's part of the bar.
 * @param {HTMLElement} place
 * @param {HTMLElement} own the link that only operators' keys are shown
 */
function drawPurse(place, own) {
  own.hidden = !here("/operator");
  if (!currentKey()) {
    fill(place, h("button.quiet", { type: "button", onclick: () => askKey() }, "Enter key"));
    return;
  }
  fill(
    place,
    isTest()
      ? h("span.badge", { title: "Requests of a test key are free, and make no real images." }, "test")
      : h("output.credits", { "aria-label": "Credits left" }),
    h("button.quiet", { type: "button", onclick: forgetKey }, "Forget key"),
  );
  // Its header tells the credits; a key that was revoked is asked for again.
  get("/api/auth/authenticate")
    .then(({ api_key: key }) => {
      own.hidden &&= !key.operator;
    })
    .catch(() => showCredits(place, "?"));
}

/**
 * @param {HTMLElement} place
 * @param {string} text
 */
function showCredits(place, text) {
  const shown = place.querySelector(".credits");
  if (!shown) return;
  const amount = Number(text);
  shown.textContent = Number.isFinite(amount) ? `${left(amount)} left` : text;
  shown.setAttribute("title", Number.isFinite(amount) ? exact(amount) : "");
}
