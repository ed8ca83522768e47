/** The account's webhooks: whom the server tells of requests that end. */

import { drawLog } from "./account-deliveries.js";
import { get, send } from "./api.js";
import { moment } from "./dates.js";
import { cancelButton, confirm, openDialog, showSecret } from "./dialog.js";
import { fill, h, tool, unique } from "./dom.js";
import { createError } from "./refusal.js";

const EVENTS = [
  ["REQUEST_COMPLETED", "Requests that are completed"],
  ["REQUEST_FAILED", "Requests that failed or were cancelled"],
];
const SIGNS =
  "Your receiver checks with it that a message came from this server: " +
  "libraries for Standard Webhooks take it as it is.";

/**
 * Fill the panel.
 * @param {HTMLElement} panel
 * @param {{mayChange: boolean}} reader whether the reader's key may change anything
 */
export async function drawWebhooks(panel, { mayChange }) {
  const redraw = () => drawWebhooks(panel, { mayChange });
  const { webhooks } = await get("/webhook/get");
  fill(
    panel,
    h(
      "div.head-row",
      {},
      h("h2", {}, "Webhooks"),
      mayChange ? h("button.primary", { type: "button", onclick: () => edit(null, redraw) }, "New webhook") : null,
    ),
    h(
      "p.hint",
      {},
      "Addresses that are told when a request of this account has ended, signed as Standard Webhooks are.",
    ),
    webhooks.length
      ? h(
          "ul.hooks",
          {},
          webhooks.map((webhook) => one(webhook, mayChange, redraw)),
        )
      : h("p", {}, "None yet."),
  );
}

/**
 * @param {Api.Webhook} webhook
 * @param {boolean} mayChange
 * @param {() => Promise<void>} redraw
 */
function one(webhook, mayChange, redraw) {
  const place = h("div.log");
  const error = createError();
  const taken = h("p.hint", {}, told(webhook));
  /** The log, and when the last message was taken by now. */
  const show = async () => {
    const [{ webhooks }] = await Promise.all([get("/webhook/get"), drawLog(place, webhook, mayChange)]);
    taken.textContent = told(webhooks.find(({ webhook_id: id }) => id === webhook.webhook_id) ?? webhook);
  };
  const log = h("details.part", {}, h("summary", {}, "Delivery log"), error.element, place);
  log.addEventListener("toggle", () => log.open && error.during(show));
  const state = webhook.is_active ? h("span.badge.good", {}, "active") : h("span.badge.bad", {}, "disabled");
  return h(
    "li",
    { "data-webhook": webhook.webhook_id },
    h(
      "div.head-row",
      {},
      h("p.url", {}, h("code", {}, webhook.webhook_url ?? "the X-Webhook-URL of each request"), " ", state),
      mayChange ? tools(webhook, redraw) : null,
    ),
    taken,
    webhook.disabled_reason
      ? h(
          "p.error",
          {},
          `Disabled: ${webhook.disabled_reason}. Edit it to make it active again; then replay what it missed.`,
        )
      : null,
    log,
  );
}

/** @param {Api.Webhook} webhook */
function told({ event: { types }, last_success_at: last }) {
  const ends = types.map((type) => type.replace("REQUEST_", "").toLowerCase()).join(" and ");
  return `requests ${ends} · last taken ${last ? moment(last) : "never"}`;
}

/**
 * @param {Api.Webhook} webhook
 * @param {() => Promise<void>} redraw
 */
function tools(webhook, redraw) {
  const own = webhook.webhook_url !== null;
  return h(
    "div.tools",
    {},
    own ? tool("edit", "Edit", () => edit(webhook, redraw)) : null,
    tool("key", "Secret", () => showSecret("The secret that signs", SIGNS, webhook.secret)),
    tool("again", "New secret", () => rotate(webhook, redraw)),
    own ? tool("close", "Make inactive", () => remove(webhook, redraw)) : null,
  );
}

/**
 * @param {Api.Webhook} webhook
 * @param {() => Promise<void>} redraw
 */
function rotate({ webhook_id: id }, redraw) {
  confirm(
    "A new secret?",
    "Messages are signed with both for a day, so that the receiver can change over.",
    "New secret",
    async () => {
      const { webhook } = await send("/webhook/rotate", { webhook_id: id });
      // After the question has been closed.
      await redraw().finally(() => setTimeout(() => showSecret("The new secret", SIGNS, webhook.secret)));
    },
  );
}

/**
 * @param {Api.Webhook} webhook
 * @param {() => Promise<void>} redraw
 */
function remove({ webhook_id: id, webhook_url: url }, redraw) {
  confirm("Make it inactive?", `${url} is told nothing more, not even what waits.`, "Make inactive", async () => {
    await get(`/webhook/inactive?webhook_id=${id}`);
    await redraw();
  });
}

/**
 * @param {Api.Webhook | null} webhook null for a new one
 * @param {() => Promise<void>} redraw
 */
function edit(webhook, redraw) {
  const url = h("input", {
    id: unique("url"),
    type: "url",
    value: webhook?.webhook_url ?? "",
    placeholder: "https://receiver.example.com/hook",
    autocomplete: "off",
  });
  const boxes = EVENTS.map(([type, words]) => ({
    type,
    words,
    box: h("input", { id: unique("event"), type: "checkbox", checked: webhook?.event.types.includes(type) ?? true }),
  }));
  const error = createError();
  const save = async () => {
    const wanted = {
      webhook_url: url.value.trim(),
      event: { types: boxes.filter(({ box }) => box.checked).map(({ type }) => type) },
    };
    const changed = await (webhook
      ? send("/webhook/update", { ...wanted, webhook_id: webhook.webhook_id })
      : send("/webhook/add", wanted));
    dialog.close();
    await redraw();
    if (!webhook) showSecret("The secret that signs", SIGNS, changed.webhook.secret);
  };
  const dialog = openDialog(
    webhook ? "Change the webhook" : "A new webhook",
    h(
      "form",
      { onsubmit: error.listener(save), novalidate: true },
      h("label", { for: url.id }, "Address"),
      url,
      boxes.map(({ words, box }) => h("div.check", {}, box, h("label", { for: box.id }, words))),
      error.element,
      h(
        "div.row",
        {},
        h("button.primary", { type: "submit" }, webhook ? "Save" : "Add it"),
        cancelButton(() => dialog.close()),
      ),
    ),
  );
}
