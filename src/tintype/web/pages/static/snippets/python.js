/** Python: the vendor's package, waiting and queued, and plain requests. */

export const INDENT = "    ";

/** @type {Record<string, string>} */
const CONSTANTS = { true: "True", false: "False", null: "None" };

/**
 * A value as Python writes it: JSON's strings and numbers are Python's too.
 * @param {Value} value
 */
export function literal(value) {
  const json = JSON.stringify(value);
  return CONSTANTS[json] ?? json;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const WORDS = new Set(["from", "in", "is", "lambda", "class", "def", "not", "with", "as", "for"]);

/**
 * Arguments of a call, or a dictionary to unpack where a name can't be one.
 * @param {Values} body
 */
export function named(body) {
  const plain = Object.keys(body).every((name) => NAME.test(name) && !WORDS.has(name));
  if (!plain) return `${INDENT}**${dictionary(body).replaceAll("\n", `\n${INDENT}`)},\n`;
  return Object.entries(body)
    .map(([name, value]) => `${INDENT}${name}=${literal(value)},\n`)
    .join("");
}

export const dictionary = (/** @type {Values} */ body) =>
  `{\n${Object.entries(body)
    .map(([name, value]) => `${INDENT}${literal(name)}: ${literal(value)},\n`)
    .join("")}}`;

/** @type {Language} */
export const segmind = {
  name: "Python, segmind (async)",
  file: "queue.py",
  needs: "pip install segmind",
  write: ({ base, slug, body }) => `from segmind import SegmindClient

client = SegmindClient(base_url="${base}/v1")  # reads SEGMIND_API_KEY
result = client.run(  # submits to the queue and waits until it is COMPLETED
    "${slug}",
${named(body)})
print(result["status"], result["output"], result["metrics"])
`,
};

/** @type {Language} */
export const segmindSync = {
  name: "Python, segmind (sync)",
  file: "generate.py",
  needs: "pip install segmind",
  write: ({ base, slug, body, answer }) => `from pathlib import Path

from segmind import SegmindClient

client = SegmindClient(base_url="${base}/v1")  # reads SEGMIND_API_KEY
response = client.run_sync(
    "${slug}",
${named(body)})
Path("${answer}").write_bytes(response.content)
`,
};

/** @type {Language} */
export const requests = {
  name: "Python, requests",
  file: "generate.py",
  needs: "pip install requests",
  write: ({ base, slug, body, answer }) => `import os
from pathlib import Path

import requests

response = requests.post(
    "${base}/v1/${slug}",
    headers={"x-api-key": os.environ["SEGMIND_API_KEY"]},
    json=${dictionary(body).replaceAll("\n", `\n${INDENT}`)},
    timeout=300,
)
if not response.ok:
    raise SystemExit(response.json()["error"])
Path("${answer}").write_bytes(response.content)
`,
};
