/** Usage by day and by model: a plot of the days, and the same as a table. */
import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { day } from "./history.js";
import { plotDays } from "./plot.js";
import { dollars } from "./words.js";

const DAYS = 31;
const PAGE = 100;
/** Requests that are added up here; beyond them the sums are of the newest ones, and the page says so. */
const MOST = 2000;

/** Fill the panel with what was used in the last 31 days. */
export async function drawUsage(panel, models) {
  const { rows, total } = await requests();
  const days = [...Array(DAYS).keys()].map((before) => day(DAYS - 1 - before));
  const cost = rows.reduce((sum, row) => sum + row.credits_deduction, 0);
  fill(panel, h("h2", {}, "Usage of the last 31 days"),
    h("p.lead", {}, `${rows.length.toLocaleString("en")} requests, ${dollars(cost)}`),
    total > rows.length ? h("p.hint", {}, `Only the newest ${MOST} of ${total} requests are added up here.`) : null,
    rows.length ? h("div.plot", {}, plotDays(days, models.map((model) => series(model, rows, days)))) : null,
    rows.length ? table(models, rows) : h("p.hint", {}, "Nothing was asked for yet."));
}

async function requests() {
  const rows = [];
  for (let page = 1; ; page += 1) {
    const asked = new URLSearchParams({ page, per_page: PAGE, from_date: day(DAYS - 1), to_date: day(0) });
    const { data, total, total_pages: pages } = await get(`/inference-request/request-history?${asked}`);
    rows.push(...data);
    if (page >= pages || rows.length >= MOST) return { rows, total };
  }
}

/** A model's dollars and requests on each day. */
function series({ slug, title }, rows, days) {
  const own = rows.filter((row) => row.model_name === slug);
  const of = (date) => own.filter((row) => row.model_created.startsWith(date));
  return { title, counts: days.map((date) => of(date).length), sums: days.map((date) => of(date).reduce((sum, row) => sum + row.credits_deduction, 0)) };
}

function table(models, rows) {
  const line = ({ slug, title }) => {
    const own = rows.filter((row) => row.model_name === slug);
    const ended = own.filter((row) => row.status === "COMPLETED");
    const failed = own.filter((row) => row.status === "FAILED").length;
    return [title, own.length, ended.length, failed, dollars(own.reduce((sum, row) => sum + row.credits_deduction, 0))];
  };
  const names = ["Model", "Requests", "Completed", "Failed", "Cost"];
  return h("div.wide", { tabindex: 0, role: "region", "aria-label": "Usage by model" }, h("table", {},
    h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, models.map(line).map(([title, ...figures]) => h("tr", {}, h("th", { scope: "row" }, title), figures.map((figure) => h("td", {}, String(figure))))))));
}
