/** Python for the other APIs that the server answers in: OpenAI's, AUTOMATIC1111's, Replicate's. */
import { named } from "../models.js";
import { dictionary, INDENT, literal, named as written } from "./python.js";

/** What OpenAI's API has fields of its own for, by meaning; all else goes along by the model's own names. */
const OF_OPENAI = new Set([
  "prompt",
  "image",
  "count",
  "width",
  "height",
  "aspect_ratio",
  "format",
  "quality",
  "base64",
]);
const OPENAI_FORMATS = new Set(["png", "jpeg", "webp"]);

/** @type {Record<string, string>} What AUTOMATIC1111's API calls a parameter of this meaning. */
const IN_A1111 = {
  prompt: "prompt",
  negative_prompt: "negative_prompt",
  steps: "steps",
  guidance: "cfg_scale",
  seed: "seed",
  count: "batch_size",
  sampler: "sampler_name",
  schedule: "scheduler",
  strength: "denoising_strength",
};

/**
 * The value of the parameter that has a meaning: the form's, else the default.
 * @param {Ask} ask
 * @param {string} means
 */
function chosen({ model, body }, means) {
  const field = named(model, means);
  return field && (body[field.name] ?? field.default);
}

/**
 * Width and height, of a model that has them.
 * @param {Ask} ask
 * @returns {[Value, Value] | null}
 */
function sides(ask) {
  const [width, height] = [chosen(ask, "width"), chosen(ask, "height")];
  return width && height ? [width, height] : null;
}

/**
 * The part of the body whose parameters have meanings that are wanted.
 * @param {Ask} ask
 * @param {(means: string) => boolean} wanted
 * @returns {[means: string, name: string, value: Value][]}
 */
function partOf({ model, body }, wanted) {
  const all = model.fields.map(({ means, name }) => /** @type {const} */ ([means, name, body[name]]));
  return all.flatMap(([means, name, value]) => (value === undefined || !wanted(means) ? [] : [[means, name, value]]));
}

/** OpenAI's and AUTOMATIC1111's have no field for a mask here; Replicate's takes a model's own parameters. */
const withoutMask = (/** @type {Model} */ model) => !named(model, "mask");

/** @type {Language} */
export const openai = {
  name: "Python, openai",
  file: "openai_images.py",
  needs: "pip install openai. OpenAI's own API: another base URL, another key.",
  takes: withoutMask,
  write: (ask) => {
    const image = String(chosen(ask, "image") ?? "");
    const address = literal(image.startsWith("/") ? ask.base + image : image);
    const format = String(chosen(ask, "format"));
    const known = OPENAI_FORMATS.has(format);
    const own = Object.fromEntries(
      partOf(ask, (means) => !OF_OPENAI.has(means)).map(([, name, value]) => [name, value]),
    );
    const size = sides(ask);
    const count = Number(chosen(ask, "count") ?? 1);
    const fields = written({
      model: ask.slug,
      prompt: chosen(ask, "prompt") ?? "",
      ...(count > 1 && { n: count }),
      ...(size && { size: size.join("x") }),
      ...(known && { output_format: format }),
    });
    const body = dictionary(own).replaceAll("\n", `\n${INDENT}`);
    return `import base64
import os
from pathlib import Path
${image ? "from urllib.request import urlopen\n" : ""}
from openai import OpenAI

client = OpenAI(base_url="${ask.base}/v1", api_key=os.environ["SEGMIND_API_KEY"])
made = client.images.${image ? "edit" : "generate"}(
${image ? `${INDENT}image=urlopen(${address}).read(),\n` : ""}${fields}${INDENT}extra_body=${body},
)
for number, image in enumerate(made.data):
    Path(f"picture.{number}.${known ? format : "png"}").write_bytes(base64.b64decode(image.b64_json))
`;
  },
};

/** @type {Language} */
export const a1111 = {
  name: "Python, A1111",
  file: "a1111.py",
  needs: "pip install requests. AUTOMATIC1111's API; the key is the password, with any user name.",
  takes: withoutMask,
  write: (ask) => {
    const image = chosen(ask, "image");
    const size = sides(ask);
    const fields = partOf(ask, (means) => means in IN_A1111).map(([means, , value]) => [IN_A1111[means], value]);
    const body = {
      ...Object.fromEntries(fields),
      ...(size && { width: size[0], height: size[1] }),
      ...(image && { init_images: [image] }),
      override_settings: { sd_model_checkpoint: ask.slug },
    };
    return `import base64
import os
from pathlib import Path

import requests

response = requests.post(
    "${ask.base}/sdapi/v1/${image ? "img2img" : "txt2img"}",
    auth=("tintype", os.environ["SEGMIND_API_KEY"]),
    json=${dictionary(body).replaceAll("\n", `\n${INDENT}`)},
    timeout=300,
)
if not response.ok:
    raise SystemExit(response.json()["detail"])
for number, image in enumerate(response.json()["images"]):
    Path(f"picture.{number}.png").write_bytes(base64.b64decode(image))
`;
  },
};

/** @type {Language} */
export const replicate = {
  name: "Python, replicate",
  file: "replicate_run.py",
  needs: "pip install replicate. Replicate's own API: another base URL, another key.",
  write: ({ base, slug, body }) => `import os

from replicate.client import Client

client = Client(base_url="${base}", api_token=os.environ["SEGMIND_API_KEY"])
made = client.run(
    "tintype/${slug}",
    input=${dictionary(body).replaceAll("\n", `\n${INDENT}`)},
)
for image in made:
    print(image)  # where it is; over https a file
`,
};
