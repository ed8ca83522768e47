/** JavaScript, waiting; TypeScript, queued. */

/** @type {Language} */
export const javascript = {
  name: "JavaScript",
  file: "generate.mjs",
  needs: "Node.js 18 or later.",
  write: ({ base, slug, json, answer }) => `import { writeFile } from "node:fs/promises";

const response = await fetch("${base}/v1/${slug}", {
  method: "POST",
  headers: { "x-api-key": process.env.SEGMIND_API_KEY, "content-type": "application/json" },
  body: JSON.stringify(${json.replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error((await response.json()).error);
await writeFile("${answer}", Buffer.from(await response.arrayBuffer()));
`,
};

/** @type {Language} */
export const typescript = {
  name: "TypeScript, queued",
  file: "queue.mts",
  needs: "Node.js 22.18 or later, or a TypeScript compiler.",
  write: ({ base, slug, json }) => `type State = "QUEUED" | "PROCESSING" | "COMPLETED" | "FAILED";
interface Result { status: State; output?: string; error?: string | null; metrics?: Record<string, number> }

const headers = { "x-api-key": process.env.SEGMIND_API_KEY ?? "", "content-type": "application/json" };

async function call<T>(url: string, init: RequestInit = {}): Promise<T> {
  const response = await fetch(url, { ...init, headers });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error);
  return body as T;
}

const body = ${json};
const submitted = await call<{ status_url: string; response_url: string }>("${base}/v2/${slug}", {
  method: "POST",
  body: JSON.stringify(body),
});
let state: State = "QUEUED";
while (state === "QUEUED" || state === "PROCESSING") {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  state = (await call<Result>(submitted.status_url)).status;
}
const result = await call<Result>(submitted.response_url);
console.log(result.output, result.metrics);
`,
};
