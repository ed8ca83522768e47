/** The models as this server describes them, and their parameters as a form needs them. */
import { get } from "./api.js";
import { RANDOM } from "./controls/seed.js";

/** @type {Model[] | null} */
let loaded = null;

/** Every model; asked for once per page. */
export async function loadModels() {
  loaded ??= (await get("/v1/models")).models.map(withFields);
  return loaded;
}

/**
 * @param {string} name
 * @param {Api.ParameterSchema} schema
 * @param {boolean} required
 * @returns {Field}
 */
function field(name, schema, required) {
  return {
    name,
    kind: kind(schema),
    type: schema.type,
    means: schema["x-means"],
    group: schema["x-group"],
    step: schema["x-step"] ?? (schema.type === "integer" ? 1 : 0.1),
    help: schema.description,
    default: schema.default ?? null,
    minimum: schema.minimum,
    maximum: schema.maximum,
    longest: schema.maxLength,
    choices: schema.enum ?? [],
    required,
  };
}

/** @param {Api.ParameterSchema} schema */
function kind({ enum: choices, format, type }) {
  if (choices) return "choice";
  if (type !== "string") return type;
  return format === "uri" ? "image" : "text";
}

/**
 * @param {Api.DescribedModel} model
 * @returns {Model}
 */
function withFields(model) {
  const required = new Set(model.parameters.required);
  const fields = Object.entries(model.parameters.properties).map(([name, schema]) =>
    field(name, schema, required.has(name)),
  );
  return { ...model, fields, example: model.parameters.examples[0] };
}

/**
 * What a form shows at first: the example that works, over the defaults, and what suits the built-in weights. Its seed
 * is a new one each time: twice the same image would be paid twice.
 * @param {Model} model
 */
export function firstValues(model) {
  const values = Object.fromEntries(model.fields.map((field) => [field.name, field.default]));
  Object.assign(values, model.example);
  const image = named(model, "image");
  // The sample under its own path: the example names it by the vendor's address, which can't be shown.
  if (image?.default) values[image.name] = image.default;
  for (const [means, value] of Object.entries(model.first ?? {})) {
    const field = named(model, means);
    if (field) values[field.name] = value;
  }
  const seed = named(model, "seed");
  if (seed) values[seed.name] = RANDOM;
  return values;
}

/**
 * What there is to do before a model can be used; empty for one that can.
 * @param {Model} model
 */
export const needed = ({ weights, weights_note: words }) =>
  weights === "needs weights" ? `This model ${words ?? weights}.` : "";

/**
 * The parameter that has this meaning; undefined where the model has none.
 * @param {Model} model
 * @param {string} means
 */
export const named = (model, means) => model.fields.find((field) => field.means === means);

/**
 * The name of that parameter; where the model has none, one that no parameter has.
 * @param {Model} model
 * @param {string} means
 */
export const nameFor = (model, means) => named(model, means)?.name ?? means;

/**
 * How many images a request with these values asks for.
 * @param {Model} model
 * @param {Values} values
 */
export const imageCount = (model, values) => Number(values[nameFor(model, "count")] ?? 1) || 1;

/**
 * What is sent: everything that the example names, and whatever else differs from its default.
 * @param {Model} model
 * @param {Values} values
 */
export function request(model, values) {
  const wanted = model.fields.filter(
    ({ name, default: usual }) =>
      (values[name] !== null && values[name] !== "" && (name in model.example || values[name] !== usual)) ||
      (values[name] === "" && usual),
  );
  return Object.fromEntries(wanted.map(({ name }) => [name, values[name]]));
}
