/** The account: balance, usage by day and model, requests. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { drawHeader } from "./header.js";
import { drawHistory } from "./history.js";
import { askKey, currentKey } from "./key.js";
import { loadModels } from "./models.js";
import { drawUsage } from "./usage.js";
import { dollars } from "./words.js";

const main = document.querySelector("main");

async function start() {
  drawHeader();
  // Whoever forgets the key, or gives another one, sees nothing of the former.
  document.addEventListener("tintype:key", () => show().catch(failed));
  await show();
}

async function show() {
  fill(main, h("div.title", {}, h("h1", {}, "Account")));
  const [owner, about, models] = await Promise.all([get("/api/auth/authenticate"), get("/about.json"), loadModels()]);
  const [usage, history] = [h("section.panel"), h("section.panel")];
  fill(main, h("div.title", {}, h("h1", {}, "Account"), h("p.lead", {}, owner.name)), purse(owner, about), usage, history);
  await Promise.all([drawUsage(usage, models), drawHistory(history, { models })]);
}

function purse({ credits, api_key: key }, { billing }) {
  const may = [key.read_only ? "may only read" : "may read and run", key.models?.length ? key.models.join(", ") : "all models", ...(key.mode === "test" ? ["test mode: free, no real pictures"] : [])];
  return h("dl.purse-facts", {},
    h("div", {}, h("dt", {}, "Balance"), h("dd.large", {}, billing ? dollars(credits, 4) : "nothing is billed here")),
    h("div", {}, h("dt", {}, "This key"), h("dd", {}, `${key.name}, ${key.hint}`), h("dd.hint", {}, may.join("; "))));
}

function failed(error) {
  const retry = currentKey() ? null : h("button.primary", { type: "button", onclick: () => askKey() }, "Enter key");
  fill(main, h("div.lone", {}, h("h1", {}, "Account"), h("p", { role: "alert" }, error.message), retry));
}

start().catch(failed);
