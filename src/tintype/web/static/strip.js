/** A strip: the same request over several values of one parameter, side by side. */
import { send } from "./api.js";
import { problem } from "./check.js";
import { drawSeed } from "./controls/number.js";
import { fill, h, icon } from "./dom.js";
import { named, request } from "./models.js";
import { createSheet } from "./sheet.js";
import { pictures } from "./result.js";
import { chooseValues } from "./strip-values.js";
import { poll } from "./watch.js";
import { dollars, label } from "./words.js";

const VARIED = ["strength", "guidance", "steps", "sampler", "schedule", "seed"];
const [FEWEST, MOST] = [2, 8];

/** The strip's own small form; `bench` is what it needs of the playground: read, stage, refuse, busy. */
export function createStrip(model, bench) {
  const fields = model.fields.filter(({ means, choices }) => VARIED.includes(means) && choices.length !== 1);
  const which = h("select", { "aria-label": "Parameter to vary" }, fields.map(({ name, means }) => h("option", { value: name }, label(means))));
  const place = h("div.values");
  const error = h("p.error", { role: "alert" });
  const button = h("button", { type: "button", onclick: () => run() }, icon("strip"), "Make the strip");
  let chooser = null;
  const chosen = () => fields[which.selectedIndex];
  const redraw = () => {
    const now = bench.read(false)[chosen().name];
    chooser = chooseValues(chosen(), now, price);
    fill(place, chooser.element);
    price();
  };
  const price = () => {
    error.textContent = "";
    const count = chooser.read().length;
    fill(button, icon("strip"), model.price && model.price_per === "picture" ? `Make ${count} pictures for ${dollars(count * model.price)}` : `Make ${count} pictures`);
  };
  const run = async () => {
    const values = chooser.read();
    const wrong = values.map((value) => problem({ ...chosen(), required: true }, value)).find(Boolean);
    const count = values.length < FEWEST || values.length > MOST ? `Give ${FEWEST} to ${MOST} values.` : "";
    error.textContent = count || wrong || "";
    const base = !error.textContent && bench.read(true);
    if (base) await make(model, bench, chosen(), values, base);
  };
  which.addEventListener("change", redraw);
  const element = h("details.strip", { ontoggle: () => element.open && redraw() },
    h("summary", {}, "Strip: compare several values"),
    h("div.inside", {}, h("p.hint", {}, "The same request with one thing varied, as a contact sheet to download."),
      which, place, error, button));
  return { element, button };
}

/** Make one picture per value, in cells that fill as they finish. */
async function make(model, bench, field, values, base) {
  const fixed = { ...base };
  const seed = named(model, "seed").name;
  const count = named(model, "count")?.name;
  if (field.name !== seed && fixed[seed] === -1) fixed[seed] = drawSeed();
  if (count) fixed[count] = 1;
  const ids = [];
  const cancel = () => ids.forEach((id) => send(`/v2/requests/${id}`, undefined, "DELETE").catch(bench.refuse));
  const sheet = createSheet(model, field, values, fixed, cancel);
  bench.busy(cancel);
  fill(bench.stage, sheet.element);
  const one = async (value, cell) => {
    const wanted = { ...fixed, [field.name]: value };
    const { request_id: id } = await send(`/v2/${model.slug}`, request(model, wanted));
    ids.push(id);
    const result = await poll(id, cell.tell);
    if (result.status === "COMPLETED") cell.show(pictures(result, wanted)[0]);
    else cell.refuse(result.error);
  };
  await Promise.all(values.map((value, place) => one(value, sheet.cells[place]).catch((error) => sheet.cells[place].refuse(error.message))));
  sheet.done();
  bench.busy(null);
}
