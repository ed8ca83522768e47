/** A strip: the same request over several values of one parameter, side by side. */
import { send } from "./api.js";
import { problem } from "./check.js";
import { drawSeed } from "./controls/number.js";
import { fill, h, icon } from "./dom.js";
import { isTest } from "./key.js";
import { named, request } from "./models.js";
import { pictures } from "./result.js";
import { createSheet } from "./sheet.js";
import { chooseValues } from "./strip-values.js";
import { poll, submit } from "./watch.js";
import { forPrice, label } from "./words.js";

const VARIED = ["strength", "guidance", "steps", "sampler", "schedule", "seed"];
const [FEWEST, MOST] = [2, 8];

/**
 * The strip's own small form: its `element`, and the `button` that makes it.
 * @param {Bench} bench
 */
export function createStrip(bench) {
  const { model } = bench;
  const fields = model.fields.filter(({ means, choices }) => VARIED.includes(means) && choices.length !== 1);
  const which = h(
    "select",
    { "aria-label": "Parameter to vary" },
    fields.map(({ name, means }) => h("option", { value: name }, label(means))),
  );
  const place = h("div.values");
  const error = h("p.error", { role: "alert" });
  const button = h("button", { type: "button", onclick: () => run() }, icon("strip"), "Make the strip");
  /** @type {ReturnType<typeof chooseValues> | null} */
  let chooser = null;
  const chosen = () => fields[which.selectedIndex];
  const read = () => chooser?.read() ?? [];
  const redraw = () => {
    const now = bench.values()[chosen().name];
    chooser = chooseValues(chosen(), now, price);
    fill(place, chooser.element);
    price();
  };
  const price = () => {
    error.textContent = "";
    const count = read().length;
    fill(
      button,
      icon("strip"),
      `Make ${count} ${count === 1 ? "picture" : "pictures"}${forPrice(model, count, isTest())}`,
    );
  };
  const run = async () => {
    const values = read();
    const wrong = values.map((value) => problem({ ...chosen(), required: true }, value)).find(Boolean);
    const count = values.length < FEWEST || values.length > MOST ? `Give ${FEWEST} to ${MOST} values.` : "";
    error.textContent = count || wrong || "";
    if (!error.textContent && bench.sound()) await make(bench, chosen(), values);
  };
  which.addEventListener("change", redraw);
  const element = h(
    "details.strip",
    {
      ontoggle: () => {
        if (element.open) redraw();
      },
    },
    h("summary", {}, "Strip: compare several values"),
    h(
      "div.inside",
      {},
      h("p.hint", {}, "The same request with one thing varied, as a contact sheet to download."),
      which,
      place,
      error,
      button,
    ),
  );
  return { element, button };
}

/**
 * Make one picture per value, in cells that fill as they finish.
 * @param {Bench} bench
 * @param {Field} field
 * @param {Value[]} values
 */
async function make(bench, field, values) {
  const { model } = bench;
  const base = fixed(model, field, bench.values());
  /** @type {string[]} */
  const ids = [];
  let unwanted = false;
  const stop = (/** @type {string} */ id) =>
    send(`/v2/requests/${id}`, undefined, "DELETE").catch((error) => bench.refuse(error));
  const cancel = () => {
    unwanted = true;
    sheet.stopping();
    for (const id of ids) stop(id);
  };
  const sheet = createSheet(model, field, values, base, {
    cancel,
    use(value, words) {
      bench.write(value);
      bench.say(`The form has ${words} now.`);
    },
  });
  bench.say("");
  bench.busy(cancel);
  bench.put(sheet.element);
  /**
   * @param {Value} value
   * @param {(typeof sheet.cells)[number]} cell
   */
  const one = async (value, cell) => {
    const wanted = { ...base, [field.name]: value };
    const { id } = await submit(model.slug, request(model, wanted));
    ids.push(id);
    if (unwanted) stop(id);
    const result = await poll(id, cell.tell);
    if (result.status === "COMPLETED") cell.show(pictures(result, wanted)[0]);
    else cell.refuse(result.error);
  };
  await Promise.all(
    values.map((value, place) =>
      one(value, sheet.cells[place]).catch(({ message }) => sheet.cells[place].refuse(message)),
    ),
  );
  sheet.done();
  bench.busy(null);
}

/**
 * What all the pictures have in common: one each, and one seed, so that nothing else makes a difference.
 * @param {Model} model
 * @param {Field} field
 * @param {Values} values
 * @returns {Values}
 */
function fixed(model, field, values) {
  const [seed, count] = [named(model, "seed")?.name ?? "seed", named(model, "count")?.name];
  const drawn = field.name !== seed && values[seed] === -1 ? { [seed]: drawSeed() } : {};
  return { ...values, ...drawn, ...(count && { [count]: 1 }) };
}
