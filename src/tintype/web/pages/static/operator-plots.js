/** The last minutes, hours or the last day as plots. */
import { get } from "./api.js";
import { timeline } from "./chart.js";
import { fill, h } from "./dom.js";
import { createError } from "./refusal.js";
import { brief, bytes } from "./words.js";

/** @type {[minutes: number, words: string][]} */
const WINDOWS = [
  [15, "15 minutes"],
  [60, "hour"],
  [360, "6 hours"],
  [1440, "day"],
];

const whole = (/** @type {number} */ value) =>
  Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(1);
const percent = (/** @type {number} */ value) => `${Number((100 * value).toPrecision(3))} %`;

/**
 * Each plot: its title, the fields that it plots, and how `timeline` draws it.
 * @typedef {[name: string, field: Api.SampleField, hue: number]} Plotted
 * @type {[title: string, fields: Plotted[], kind: import("./chart.js").Kind][]}
 */
const PLOTS = [
  [
    "Queue depth",
    [
      ["waiting", "queued", 0],
      ["running", "running", 1],
    ],
    { least: 4, show: whole, empty: "not measured yet" },
  ],
  ["Batch fill", [["of the rows that fit", "fill", 0]], { least: 1, show: percent, empty: "no steps" }],
  ["Step time", [["mean", "step_seconds", 0]], { least: 0.001, show: brief, empty: "no steps" }],
  [
    "Memory",
    [
      ["workers' processes", "memory", 0],
      ["their devices", "device_memory", 1],
    ],
    {
      least: 2 ** 20,
      show: bytes,
      round: (value) => (value < 2 ** 30 ? 2 ** 20 : 2 ** 30),
      empty: "not reported",
    },
  ],
  [
    "Requests ended",
    [
      ["completed", "completed", 1],
      ["refused", "refused", 4],
      ["failed here", "failed", 2],
      ["cancelled", "cancelled", 3],
    ],
    { bars: true, least: 4, show: whole, empty: "none" },
  ],
  ["Error rate", [["failed here", "error_rate", 2]], { least: 0.1, show: percent, empty: "no requests ended" }],
  ["Cold starts", [["loads of weights", "cold_starts", 0]], { bars: true, least: 4, show: whole, empty: "none" }],
  ["Workers alive", [["workers", "workers", 1]], { least: 2, show: whole, empty: "not measured yet" }],
];

/**
 * Fill a panel with the plots' frame → a function that fetches the figures and draws them.
 * @param {HTMLElement} panel
 */
export function drawPlots(panel) {
  const plots = h("div.timelines");
  const error = createError();
  const choice = h(
    "select",
    {},
    WINDOWS.map(([minutes, words]) => h("option", { value: minutes, selected: minutes === 60 }, words)),
  );
  fill(
    panel,
    h("div.row.window", {}, h("h2", {}, "Over time"), h("label.inline", {}, "The last", choice)),
    error.element,
    plots,
  );
  const look = async () => {
    const minutes = Number(choice.value);
    const told = await get(`/v2/operator/samples?minutes=${minutes}`);
    // Another stretch of time may have been chosen meanwhile.
    if (minutes === Number(choice.value)) fill(plots, all(told, minutes));
  };
  choice.addEventListener("change", () => error.during(look));
  return look;
}

/**
 * @param {Api.Samples} told
 * @param {number} minutes
 */
function all({ at, seconds, samples }, minutes) {
  const to = Date.parse(at);
  const span = { times: samples.map((one) => Date.parse(one.at)), seconds, from: to - minutes * 60_000, to };
  return PLOTS.map(([title, fields, kind]) => {
    const series = fields.map(([name, field, hue]) => ({
      name,
      hue,
      values: samples.map((one) => one[field] ?? null),
    }));
    // No device has memory of its own on a machine without GPU.
    const told = series.filter(
      ({ values }, number) => number === 0 || kind.bars || values.some((value) => value !== null),
    );
    return timeline(title, kind.bars ? counted(told) : told, span, kind);
  });
}

/**
 * Of counts, nothing is as good as unknown: only what there was makes a plot.
 * @template {{values: (number | null)[]}} Series
 * @param {Series[]} series
 */
const counted = (series) => series.map((one) => ({ ...one, values: one.values.map((value) => value || null) }));
