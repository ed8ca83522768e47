/** What the server would refuse, said before anything is sent. */

/**
 * Why a value can't be sent; empty where it can.
 * @param {Field} field
 * @param {Value} value
 */
export function problem(field, value) {
  const missing = value === null || value === "";
  if (missing) return field.required ? "Needed." : "";
  if (field.kind === "choice" && !field.choices.includes(value)) return "Choose one from the list.";
  if (field.kind === "text") return tooLong(field, String(value));
  return field.kind === "integer" || field.kind === "number" ? numeric(field, value) : "";
}

/**
 * A text is never cut: what is too much of it is said.
 * @param {Field} field
 * @param {string} text
 */
function tooLong({ longest = Infinity }, text) {
  // As the server counts: an emoji is one.
  const length = text.length > longest ? [...text].length : text.length;
  const [has, allowed] = [length, longest].map((count) => count.toLocaleString("en"));
  return length > longest ? `This has ${has} characters; ${allowed} are allowed.` : "";
}

/**
 * @param {Field} field
 * @param {Value} value
 */
function numeric({ minimum: least = -Infinity, maximum: most = Infinity, type }, value) {
  const whole = type === "integer";
  const text = String(value).trim();
  if (!(whole ? /^-?\d+$/ : /^-?\d*\.?\d+(e-?\d+)?$/i).test(text))
    return whole ? "A whole number is needed." : "A number is needed.";
  // A seed may be longer than a number can be exact.
  const number = whole ? BigInt(text) : Number(text);
  return number < least || number > most ? `Between ${least} and ${most.toLocaleString("en")}, please.` : "";
}
