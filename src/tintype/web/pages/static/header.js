/** What every page has: the bar above with the key and the credits, and the foot. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { askKey, currentKey, forgetKey } from "./key.js";
import { here } from "./paths.js";
import { dollars } from "./words.js";

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

/** Draw the bar and the foot. */
export function drawHeader() {
  /**
   * @param {string} path
   * @param {string} name
   */
  const link = (path, name) => h("a", { href: path, "aria-current": here(path) ? "page" : null }, name);
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
    h("nav", { "aria-label": "Pages" }, link("/", "Models"), link("/account", "Account"), own),
    place,
  );
  fill(
    foot,
    h(
      "p",
      {},
      "Pictures made while you wait, on this machine. ",
      h("a", { href: "/openapi.json" }, "OpenAPI description"),
    ),
  );
  drawPurse(place, own);
  document.addEventListener("tintype:key", () => drawPurse(place, own));
  // A request that ended has released what it held, or was charged.
  document.addEventListener(
    "tintype:ended",
    () => currentKey() && get("/v1/get-user-credits").catch(() => showCredits(place, "?")),
  );
  document.addEventListener("tintype:credits", ({ detail }) => showCredits(place, detail));
}

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
    h("output.credits", { "aria-label": "Credits left" }),
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
  if (shown) shown.textContent = Number.isFinite(Number(text)) ? `${dollars(Number(text))} left` : text;
}
