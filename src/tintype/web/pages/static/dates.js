/** Days and moments as people of this place and time zone write them, and days as the server takes them. */

/** Milliseconds. */
const DAY = 86_400_000;

/**
 * A moment of an answer as people of this place and time zone write it.
 * @param {Api.Moment} text
 */
export const moment = (text) => new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

/**
 * The day of such a moment.
 * @param {Api.Moment} text
 */
export const date = (text) => new Date(text).toLocaleDateString([], { dateStyle: "medium" });

/**
 * A moment's time of the day, where the reader is.
 * @param {Api.Moment | number} moment
 */
export const timeOf = (moment) => new Date(moment).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

/**
 * A day as a heading: "Today", "Yesterday", "Saturday, 14 November", with the year where it is another.
 * @param {Api.Moment} moment
 */
export function dayName(moment) {
  const [day, today, yesterday] = [new Date(moment), new Date(), new Date()];
  yesterday.setDate(yesterday.getDate() - 1);
  if (day.toDateString() === today.toDateString()) return "Today";
  if (day.toDateString() === yesterday.toDateString()) return "Yesterday";
  const year = day.getFullYear() === today.getFullYear() ? undefined : "numeric";
  return day.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year });
}

/**
 * For how long an image stays: "kept until 14 December", of the last day the time, or "kept for good".
 * @param {Pick<Api.Image, "kept_until">} image
 */
export function lifeOf({ kept_until: end }) {
  if (end === null) return "kept for good";
  const left = Date.parse(end) - Date.now();
  if (left < DAY) return `kept until ${timeOf(end)}`;
  const far = new Date(end).getFullYear() !== new Date().getFullYear();
  return `kept until ${far ? date(end) : new Date(end).toLocaleDateString([], { day: "numeric", month: "long" })}`;
}

/**
 * A day as the server takes it (UTC).
 * @param {number} before days before today
 */
export const day = (before) => new Date(Date.now() - before * DAY).toISOString().slice(0, 10);
