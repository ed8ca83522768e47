/** A request of any age, as the account's history and its images tell of it. */
import { get } from "./api.js";
import { ofRequest } from "./images.js";

/** Words of the history for a request that was cancelled. */
const CANCELLED = "cancelled";

/**
 * The model's slug, the values, and the run of a request; throws Refused, with 404 where the account has none such.
 * @param {string} id
 * @returns {Promise<{slug: string, values: Values, run: Omit<Run, "key" | "value">}>}
 */
export async function recall(id) {
  const row = await get(`/inference-request/request-history/${encodeURIComponent(id)}`);
  const values = row.parameters ?? {};
  const about = { slug: row.model_name, values };
  if (row.status === "PENDING") return { ...about, run: { request: id, state: "running" } };
  if (row.status === "FAILED") {
    const error = row.error ?? "It failed.";
    return { ...about, run: { request: id, state: error === CANCELLED ? "cancelled" : "failed", error } };
  }
  const images = await ofRequest(id);
  return { ...about, values: images[0]?.parameters ?? values, run: { request: id, state: "done", ...of(images) } };
}

/**
 * @param {Api.Image[]} images
 * @returns {Pick<Run, "images" | "metrics">}
 */
function of(images) {
  if (!images.length) return { images };
  const [{ cost, inference_time, queue_time }] = images;
  return { images, metrics: { cost, inference_time, queue_time } };
}
