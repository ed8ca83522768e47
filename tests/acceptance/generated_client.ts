// What a user of openapi-typescript and openapi-fetch writes; test_generated_clients.py compiles it and runs it.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };
const [base = "", key = "", png = ""] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: base, headers: { "x-api-key": key } });
// The sampler is a name that no list offers, and that the server takes.
const asked: components["schemas"]["StableDiffusion35TurboTxt2imgParams"] = {
  prompt: "a fox",
  width: 128,
  height: 128,
  steps: 2,
  sampler: "euler_pp",
};

function got<T>({ data, error }: { data?: T; error?: unknown }): T {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

async function ended(request_id: string) {
  for (;;) {
    const found = got(await api.GET("/v2/requests/{request_id}", { params: { path: { request_id } } }));
    if (found.status === "COMPLETED") return found;
    await new Promise((resolve) => setTimeout(resolve, found.queue_position === null ? 50 : 100));
  }
}

const submitted = got(await api.POST("/v2/stable-diffusion-3.5-turbo-txt2img", { body: asked }));
const result = await ended(submitted.request_id);
console.log("made", result.images.map((image) => image.content_type).join());
const status = got(
  await api.GET("/v2/requests/{request_id}/status", { params: { path: { request_id: submitted.request_id } } }),
);
console.log("status", status.status);

const bytes = await api.POST("/v1/stable-diffusion-3.5-turbo-txt2img", { body: asked, parseAs: "arrayBuffer" });
console.log("image", new Uint8Array(got(bytes)).slice(0, 2).join(), bytes.response.headers.get("x-cost"));
const encoded = got(
  await api.POST("/v1/stable-diffusion-3.5-turbo-txt2img", { body: { ...asked, base64: true, batch_size: 2 } }),
);
if (typeof encoded === "object" && "image" in encoded) console.log("base64", encoded.outputs, encoded.image.length);
const several = got(await api.POST("/v1/stable-diffusion-3.5-turbo-txt2img", { body: { ...asked, batch_size: 2 } }));
if (typeof several === "object" && "images" in several) console.log("several", several.images.length);

const waiting = got(
  await api.POST("/v2/sd1.5-img2img", {
    body: { prompt: "a fox", image: "/sd-img2img-input.jpeg" },
    params: { header: { "Idempotency-Key": "once", "Cancel-After": 60.5 } },
  }),
);
const path = { request_id: waiting.request_id };
console.log(
  "cancelled",
  got(await api.DELETE("/v2/requests/{request_id}", { params: { path } })).request_id === path.request_id,
);

const { error } = await api.POST("/v1/stable-diffusion-3.5-turbo-txt2img", { body: { prompt: "a fox", steps: 100 } });
console.log("refused", error?.status_code, error?.error_description);
const uploaded = got(await api.POST("/upload-asset", { body: { data_urls: [`data:image/png;base64,${png}`] } }));
console.log("uploaded", uploaded.file_urls.length);
const webhook_url = "https://receiver.example.com/hook";
const added = got(await api.POST("/webhook/add", { body: { webhook_url, event: { types: ["REQUEST_COMPLETED"] } } }));
console.log("webhook", added.webhook.is_active, added.webhook.event.types.join());
const history = got(
  await api.GET("/inference-request/request-history", { params: { query: { status: "COMPLETED" } } }),
);
console.log("history", history.data.length > 0 && history.data.every((row) => row.credits_deduction > 0));
const ledger = got(await api.GET("/v2/ledger"));
console.log(
  "ledger",
  ledger.data
    .map((row) => row.kind)
    .sort()
    .join(),
);
