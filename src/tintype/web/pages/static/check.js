/** What the server would refuse, said before anything is sent. */

/** Why a value can't be sent; empty where it can. */
export function problem(field, value) {
  const missing = value === null || value === "";
  if (missing) return field.required ? "Needed." : "";
  if (field.kind === "choice" && !field.choices.includes(value)) return "Choose one from the list.";
  return field.kind === "integer" || field.kind === "number" ? numeric(field, value) : "";
}

function numeric(field, value) {
  const { minimum: least, maximum: most, type } = field;
  const whole = type === "integer";
  const text = String(value).trim();
  if (!(whole ? /^-?\d+$/ : /^-?\d*\.?\d+(e-?\d+)?$/i).test(text))
    return whole ? "A whole number is needed." : "A number is needed.";
  // A seed may be longer than a number can be exact.
  const outside = whole ? BigInt(text) < BigInt(least) || BigInt(text) > BigInt(most) : value < least || value > most;
  return outside ? `Between ${least} and ${most.toLocaleString("en")}, please.` : "";
}
