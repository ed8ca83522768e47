/** The account's API keys: what each may do, new ones, new secrets, and their end. */

import { createKeyForm } from "./account-key-form.js";
import { get, send } from "./api.js";
import { date } from "./dates.js";
import { confirm, openDialog, showSecret } from "./dialog.js";
import { fill, h, icon } from "./dom.js";
import { forgetKey } from "./key.js";
import { dollars } from "./words.js";

/** Seconds for which the secret before goes on working. */
const OVERLAP = 86_400;
const ONCE =
  "It is shown this once: the server keeps a hash of it and nothing more. Store it now, where your programs find it.";

/**
 * Fill the panel.
 * @param {HTMLElement} panel
 * @param {import("./account-key-form.js").Choices} choices
 */
export async function drawKeys(panel, choices) {
  const redraw = () => drawKeys(panel, choices);
  const { keys, may_create: mayCreate } = await get("/v2/keys");
  const [alive, over] = [true, false].map((wanted) =>
    keys.filter(({ state }) => (state === "in force") === wanted).map((key) => one(key, choices.limits, redraw)),
  );
  const create = h("button.primary", { type: "button", onclick: () => openCreate(choices, redraw) }, "New key");
  fill(
    panel,
    h("div.head-row", {}, h("h2", {}, "API keys"), mayCreate ? create : null),
    h("p.hint", {}, "A key makes and changes only keys that may do no more than itself."),
    h("ul.rows.plain", { "aria-label": "Keys in force" }, alive),
    over.length
      ? h("details.part", {}, h("summary", {}, `${over.length} no longer in force`), h("ul.rows.plain", {}, over))
      : null,
  );
}

/**
 * @param {Api.Key} key
 * @param {Api.KeyLimit[]} limits
 * @param {() => Promise<void>} redraw
 */
function one(key, limits, redraw) {
  const marks = [
    key.own ? "this tab's" : "",
    key.mode === "test" ? "test" : "",
    key.operator ? "operator" : "",
    key.read_only ? "reads only" : "",
    key.state === "in force" ? "" : key.state,
  ];
  const tools =
    key.may_change && key.state === "in force"
      ? h(
          "div.tools",
          {},
          h("button.tool", { type: "button", onclick: () => rotate(key, redraw) }, icon("again"), "New secret"),
          h("button.tool", { type: "button", onclick: () => revoke(key, redraw) }, icon("close"), "Revoke"),
        )
      : null;
  return h(
    "li",
    { "data-key": key.id },
    h(
      "div.what",
      {},
      h(
        "p",
        {},
        h("strong", {}, key.name),
        " ",
        h("code", {}, `${key.begins}…`),
        marks.filter(Boolean).map((mark) => h("span.badge", {}, mark)),
      ),
      h("p.hint", {}, rights(key, limits).join(" · ")),
    ),
    tools,
  );
}

/**
 * What a key may do, in words.
 * @param {Api.Key} key
 * @param {Api.KeyLimit[]} limits
 */
function rights(key, limits) {
  const until = key.expires_at ? `until ${date(key.expires_at)}` : "";
  return [
    key.models === null ? "all models" : key.models.join(", "),
    key.spend_cap === null ? `spent ${dollars(key.spent)}` : "",
    ...limits.map((limit) => words(key, limit)),
    `made ${date(key.created_at)}`,
    key.revoked_at ? `revoked ${date(key.revoked_at)}` : until,
  ].filter(Boolean);
}

/**
 * `60 a minute`, `spent $0.10 of $0.50`; nothing of a limit that the key doesn't have.
 * @param {Api.Key} key
 * @param {Api.KeyLimit} limit
 */
function words(key, { name, money, listed, used }) {
  const values = /** @type {Record<string, number | null>} */ (/** @type {unknown} */ (key));
  const figure = (/** @type {string} */ of) =>
    money ? dollars(values[of] ?? 0) : (values[of] ?? 0).toLocaleString("en");
  return values[name] === null ? "" : listed.replace("{max}", figure(name)).replace("{used}", figure(used));
}

/**
 * @param {import("./account-key-form.js").Choices} choices
 * @param {() => Promise<void>} redraw
 */
function openCreate(choices, redraw) {
  const form = createKeyForm(
    choices,
    async (wanted) => {
      const { key, secret } = await send("/v2/keys", wanted);
      dialog.close();
      // Also where the list can't be drawn: the secret is shown now or never.
      await redraw().finally(() => showSecret(`The key “${key.name}”`, ONCE, secret));
    },
    () => dialog.close(),
  );
  const dialog = openDialog("A new key", form);
}

/**
 * @param {Api.Key} key
 * @param {() => Promise<void>} redraw
 */
function rotate(key, redraw) {
  const words =
    `“${key.name}” gets a new secret. The one before works for one more day, so that programs can change over. ` +
    "Limits and spending stay. If it leaked, revoke it instead: that ends it immediately." +
    (key.own ? " This tab goes on with the old one until then." : "");
  confirm("A new secret?", words, "New secret", async () => {
    const { secret } = await send(`/v2/keys/${key.id}/rotate`, { overlap: OVERLAP });
    // After the question has been closed.
    await redraw().finally(() => setTimeout(() => showSecret(`The new secret of “${key.name}”`, ONCE, secret)));
  });
}

/**
 * @param {Api.Key} key
 * @param {() => Promise<void>} redraw
 */
function revoke(key, redraw) {
  const words =
    `“${key.name}” (${key.begins}…) stops working immediately and permanently. What it has queued goes on.` +
    (key.own ? " It is the key of this tab." : "");
  confirm("Revoke this key?", words, "Revoke", async () => {
    await send(`/v2/keys/${key.id}`, undefined, "DELETE");
    if (key.own) forgetKey();
    else await redraw();
  });
}
