/** A request in a list: its image, what was asked, what it cost, and where it is seen again. */

import { send } from "./api.js";
import { moment } from "./dates.js";
import { h } from "./dom.js";
import { goneMark, shown } from "./image-view.js";
import { local } from "./paths.js";
import { createError } from "./refusal.js";
import { dollars, duration } from "./words.js";

/**
 * @param {Api.PastRequest} row
 * @param {Model[]} models
 * @param {() => Promise<unknown>} ended called when it was cancelled
 */
export function createRow(row, models, ended) {
  const { request_id: id, status } = row;
  const model = models.find(({ slug }) => slug === row.model_name);
  const error = createError();
  const cancel = async () => {
    await send(`/v2/requests/${id}`, undefined, "DELETE");
    document.dispatchEvent(new CustomEvent("tintype:ended"));
    await ended();
  };
  return h(
    "li",
    { "data-state": status },
    thumb(row),
    h(
      "div.what",
      {},
      h("p.prompt", {}, row.prompt || "(no prompt)"),
      h(
        "p.hint",
        {},
        h("time", { datetime: row.model_created }, moment(row.model_created)),
        ` · ${model?.title ?? row.model_name}`,
      ),
      row.error ? h("p.error", {}, row.error) : null,
      error.element,
    ),
    h(
      "div.figures",
      {},
      h("span", {}, dollars(row.credits_deduction)),
      h("span.hint", {}, row.latency_ms === null ? "" : duration(row.latency_ms / 1000)),
    ),
    h(
      "div.acts",
      {},
      status === "PENDING" && h("button.tool", { type: "button", onclick: error.listener(cancel) }, "Cancel"),
      model && h("a.tool", { href: `/models/${model.slug}#request=${id}` }, "Open"),
    ),
  );
}

/** @param {Api.PastRequest} row */
function thumb({ request_id: id, status, prompt, generation_urls: urls }) {
  if (!urls.length)
    return h("div.thumb", {}, status === "COMPLETED" ? goneMark() : h("span.hint", {}, status.toLowerCase()));
  const url = local(urls[0]);
  const name = url.slice(url.lastIndexOf("/") + 1);
  const words = `Image of ${prompt || `request ${id}`}`;
  const more = urls.length > 1 ? h("span.count", { title: `${urls.length} images` }, `${urls.length}`) : null;
  return h(
    "a.thumb",
    { href: `/images#image=${name}` },
    shown({ name, url }, words, { brief: true, lazy: true }),
    more,
  );
}
