/** The form in the address: behind the `#`, which is never sent to a server; the key is never in it. */

/**
 * Values of the form that the address names, with the types of the model's fields.
 * @param {Model} model
 */
export function fromAddress(model) {
  const sent = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(
    model.fields
      .filter(({ name }) => sent.has(name))
      .map((field) => [field.name, typed(field, sent.get(field.name) ?? "")]),
  );
}

/** The id of the request that the address names, as the history's and the gallery's links do; empty for none. */
export const requestInAddress = () => new URLSearchParams(location.hash.slice(1)).get("request") ?? "";

/**
 * An address that restores these values, the empty ones too, since a form does not begin with empty fields; a image
 * that lies in the form as text is too long for one.
 * @param {Values} values
 */
export function toAddress(values) {
  const short = Object.entries(values)
    .map(([name, value]) => [name, String(value ?? "")])
    .filter(([, value]) => !value.startsWith("data:"));
  return `${location.origin}${location.pathname}#${new URLSearchParams(short)}`;
}

/**
 * @param {Field} field
 * @param {string} text
 * @returns {Value}
 */
function typed(field, text) {
  if (field.kind === "boolean") return text === "true";
  if (field.kind === "choice") return field.choices.find((value) => String(value) === text) ?? field.default;
  if (text === "" && field.kind !== "text") return null;
  if (field.kind === "integer" || field.kind === "number")
    return Number.isSafeInteger(Number(text)) || field.kind === "number" ? Number(text) : text;
  return text;
}
