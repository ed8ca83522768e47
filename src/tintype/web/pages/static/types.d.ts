// Records that cross modules, for tsc and for readers: no page loads this file.

/** The server's JSON, as far as the pages read it; /openapi.json describes all of it. */
declare namespace Api {
  type Moment = string;

  interface Models {
    models: DescribedModel[];
  }
  interface DescribedModel {
    slug: string;
    title: string;
    description: string;
    type: "image-to-image" | "text-to-image";
    /** Dollars. */
    price: number;
    price_per: "picture" | "second";
    typical_seconds: number;
    measured_seconds: number | null;
    parameters: { required: string[]; properties: Record<string, ParameterSchema>; examples: Values[] };
    // Of models with the built-in weights.
    weights?: string;
    weights_note?: string;
    first?: Values;
    sample?: string;
    vocabulary?: { name: string; emoji: string }[];
    colours?: string[];
    prompts?: string[];
  }
  /** JSON Schema, with words of ours for forms. */
  interface ParameterSchema {
    type: "string" | "integer" | "number" | "boolean";
    description: string;
    default?: Value;
    enum?: Value[];
    format?: string;
    minimum?: number;
    maximum?: number;
    maxLength?: number;
    "x-means": string;
    "x-group": string;
    "x-step"?: number;
  }

  interface About {
    billing: boolean;
    states: Record<string, string>;
    kept_seconds: { record: number; file: number; upload: number; history: number };
  }
  interface Response {
    description: string;
    content: Record<string, unknown>;
  }
  interface OpenApi {
    paths: Record<string, { post: { responses: Record<string, Response | { $ref: string }> } }>;
    components: { responses: Record<string, Response> };
  }

  /** `name` and `credits` are not told to an operator's key that may only read. */
  interface Owner {
    name: string;
    credits: number;
    api_key: {
      name: string;
      hint: string;
      mode: "live" | "test";
      models: string[] | null;
      read_only: boolean;
      operator?: boolean;
    };
  }
  type Limit = "rpm" | "concurrency" | "max_queued" | "max_pixels";
  interface Key extends Record<Limit, number | null> {
    id: string;
    name: string;
    begins: string;
    mode: "live" | "test";
    models: string[] | null;
    read_only: boolean;
    operator: boolean;
    state: string;
    spend_cap: number | null;
    spent: number;
    created_at: Moment;
    expires_at: Moment | null;
    revoked_at: Moment | null;
    /** Whether it is the key of this call. */
    own: boolean;
    may_change: boolean;
  }
  interface Keys {
    keys: Key[];
    may_create: boolean;
  }
  interface NewKey {
    key: Key;
    secret: string;
  }

  interface Page<Row> {
    data: Row[];
    page: number;
    total: number;
    total_pages: number;
  }
  interface LedgerRow {
    kind: string;
    amount: number;
    balance: number;
    note: string | null;
    request_id: string | null;
    created_at: Moment;
  }
  interface LedgerDays {
    days: { date: string; given: number; taken: number; balance: number }[];
  }
  interface UsageRow {
    date: string;
    model_name: string;
    requests: number;
    completed: number;
    failed: number;
    cost: number;
  }
  interface Usage {
    data: UsageRow[];
    total: { requests: number; cost: number };
  }
  interface PastRequest {
    request_id: string;
    model_name: string;
    status: string;
    prompt: string | null;
    parameters: Values | null;
    error?: string | null;
    generation_url: string | null;
    credits_deduction: number;
    latency_ms: number | null;
    model_created: Moment;
  }

  interface Webhook {
    webhook_id: string;
    /** Null for the one that signs what goes to the X-Webhook-URL of requests. */
    webhook_url: string | null;
    event: { types: string[] };
    is_active: boolean;
    disabled_reason: string | null;
    last_success_at: Moment | null;
    /** Not told to keys that may only read. */
    secret: string;
  }
  interface Webhooks {
    webhooks: Webhook[];
  }
  interface ChangedWebhook {
    webhook: Webhook;
  }
  interface Delivery {
    delivery_id: string;
    request_id: string;
    event: string;
    status: "PENDING" | "DELIVERED" | "FAILED";
    attempts: number;
    response_status: number | null;
    error: string | null;
    created_at: Moment;
    next_attempt_at: Moment | null;
  }
  interface Deliveries {
    logs: Delivery[];
  }

  interface Metrics {
    cost: number;
    inference_time: number;
    queue_time: number;
  }
  interface Result {
    status: "COMPLETED" | "FAILED";
    error: string;
    images: { url: string; file_name: string; seed: string }[];
    prompt: string;
    metrics: Metrics;
    warnings?: string[];
  }
  /** Data of the events queued, started and progress, and the answer of /status; `error` once it has FAILED. */
  interface Status {
    status?: "QUEUED" | "PROCESSING" | "COMPLETED" | "FAILED";
    queue_position?: number | null;
    eta?: number | null;
    progress?: number;
    step?: number;
    steps?: number;
    error?: string;
  }
  /** Data of the event preview: the image's number, and a JPEG as a data URL. */
  interface Preview {
    picture: number;
    finished: boolean;
    image: string;
  }
  interface Uploaded {
    file_urls: string[];
  }

  type WorkerState = "working" | "idle" | "paused" | "draining" | "drained" | "silent";
  interface Run {
    request_id: string;
    model: string;
    pictures: number;
    step: number;
    steps: number;
  }
  interface Worker {
    id: string;
    version: string;
    device: string;
    state: WorkerState;
    paused: string | null;
    started_at: Moment;
    seen_at: Moment;
    drain_at: Moment | null;
    runs: Run[];
    models: string[];
    /** Bytes; without the members that its device doesn't have. */
    memory: Partial<Record<"process" | "budget" | "weights" | "total" | "reserved" | "allocated", number>>;
    rows: number | null;
    max_rows: number;
    step_seconds: number | null;
    cold_starts: number;
    cold_seconds: number;
  }
  interface Queue {
    paused: boolean;
    paused_at: Moment | null;
    queued: number;
    running: number;
    oldest_seconds: number | null;
  }
  interface Overview {
    at: Moment;
    queue: Queue;
    servers: { id: string; version: string; state: string }[];
    workers: Worker[];
  }
  type SampleField =
    | ("queued" | "running" | "workers" | "memory" | "device_memory" | "fill" | "step_seconds" | "error_rate")
    | ("completed" | "failed" | "refused" | "cancelled" | "cold_starts");
  interface Sample extends Record<SampleField, number | null> {
    at: Moment;
  }
  interface Samples {
    at: Moment;
    seconds: number;
    samples: Sample[];
  }
  interface AccountUse {
    name: string;
    mode: "live" | "test";
    charged: number;
    cost: number;
    uncharged: number;
    completed: number | null;
    failed: number | null;
  }
  interface AccountUses extends Page<AccountUse> {
    from: string;
    to: string;
    total_charged: number;
    total_cost: number;
  }
  interface Act {
    at: Moment;
    act: string;
    times: number;
    who: string;
    address: string | null;
    target: string;
    details: Record<string, unknown>;
  }
}

/** What GET answers at a path. */
type Answer<Path extends string> = Path extends `${infer Plain}?${string}`
  ? Answer<Plain>
  : Path extends keyof Answers
    ? Answers[Path]
    : Path extends `/v2/requests/${string}`
      ? Api.Result
      : unknown;
interface Answers {
  "/about.json": Api.About;
  "/api/auth/authenticate": Api.Owner;
  "/inference-request/recent-generations": Api.Page<Api.PastRequest>;
  "/inference-request/request-history": Api.Page<Api.PastRequest>;
  "/openapi.json": Api.OpenApi;
  "/v1/models": Api.Models;
  "/v2/keys": Api.Keys;
  "/v2/ledger": Api.Page<Api.LedgerRow>;
  "/v2/ledger/days": Api.LedgerDays;
  "/v2/operator": Api.Overview;
  "/v2/operator/audit": Api.Page<Api.Act>;
  "/v2/operator/samples": Api.Samples;
  "/v2/operator/usage": Api.AccountUses;
  "/v2/usage": Api.Usage;
  "/webhook/dispatch-logs": Api.Deliveries;
  "/webhook/get": Api.Webhooks;
}
/** What another method answers at a path. */
type Changed<Path extends string> = Path extends "/v2/keys" | `/v2/keys/${string}/rotate`
  ? Api.NewKey
  : Path extends `/webhook/${"add" | "update" | "rotate"}`
    ? Api.ChangedWebhook
    : Path extends "/upload-asset"
      ? Api.Uploaded
      : unknown;

/** A parameter's value in a form: text where it is no number, or a seed that a number would lose digits of. */
type Value = string | number | boolean | null;
/** By the parameter's name. */
type Values = Record<string, Value>;

/** A parameter as a form needs it. */
interface Field {
  name: string;
  kind: "text" | "picture" | "choice" | "integer" | "number" | "boolean";
  type: string;
  /** What it means for any model: `steps`, `guidance`, `seed` … */
  means: string;
  group: string;
  step: number;
  help: string;
  default: Value;
  minimum?: number;
  maximum?: number;
  longest?: number;
  choices: Value[];
  required: boolean;
}

interface Model extends Api.DescribedModel {
  fields: Field[];
  example: Values;
}

/** What a field is filled in with: `input` is what a label names, and what is focused. */
interface Control {
  element: HTMLElement;
  input: HTMLElement;
  read(): Value;
  write(value: Value): void;
}

/** Makes a field's control; `changed` is called when its value was changed by hand. */
type MakeControl = (field: Field, id: string, changed: () => void) => Control;

/** A finished image, as the shelf and the stage know it. */
interface Picture {
  /** A path of this server. */
  url: string;
  seed: string;
  name: string;
  /** "seed 7" */
  label: string;
  prompt: string;
  /** The form's values that it was made with. */
  values: Values;
  metrics: Api.Metrics;
}

/** What can be done with a picture on the stage; `input` where the model takes one. */
interface PictureActs {
  same(picture: Picture): void;
  vary(picture: Picture): void;
  input?(picture: Picture): void;
  compare(picture: Picture): void;
  link(picture: Picture): void;
}

/** What acts and strips may do with the playground. */
interface Bench {
  readonly model: Model;
  /** The form's values. */
  values(): Values;
  /** Put values into the form; fields without one stay as they are. */
  write(values: Values): void;
  /** Whether the form can be sent; if not, it says why at the fields. */
  sound(): boolean;
  /** Send the form. */
  generate(): void;
  /** The pictures of this page, newest first. */
  made(): Picture[];
  /** Put something on the stage. */
  put(element: HTMLElement): void;
  /** Show a request's pictures on the stage. */
  show(made: Picture[]): void;
  /** Say something below the stage. */
  say(words: string): void;
  /** Say why the server refused. */
  refuse(error: Refusal): void;
  /** Note what stops the work in progress; null when it has ended. */
  busy(stop: (() => void) | null): void;
}

/** Listener of a request's events: queued, started, progress with its status; preview; away while no server answers. */
type Tell = (event: string, data: Api.Status | Api.Preview) => void;

/** What a snippet is written from: the server's address, the slug, the body, its JSON, and the file for the answer. */
interface Ask {
  base: string;
  slug: string;
  body: Values;
  json: string;
  answer: string;
}
/** A language of the API tab: the file that the code belongs in, and what it needs. */
interface Language {
  name: string;
  file: string;
  needs: string;
  write(ask: Ask): string;
}

/** What an error says, and what to do next; `status` where the server answered. */
interface Refusal extends Error {
  status?: number;
  advice?: string;
}

type Child = Node | string | number | null | undefined | false;
/** A listener of any event; a method, so that those of single events are ones. */
type Listener = { listen(event: Event): unknown }["listen"];
interface Attributes {
  [name: string]: string | number | boolean | null | undefined | Listener;
  onclick?: (event: MouseEvent) => unknown;
  onsubmit?: (event: SubmitEvent) => unknown;
  onkeydown?: (event: KeyboardEvent) => unknown;
  onpointerdown?: (event: PointerEvent) => unknown;
}
/** The element of `p.hint`: what stands before the first point is its tag. */
type ElementOf<Tag extends string> = Tag extends `${infer Name}.${string}`
  ? ElementOf<Name>
  : Tag extends keyof HTMLElementTagNameMap
    ? HTMLElementTagNameMap[Tag]
    : HTMLElement;

interface DocumentEventMap {
  /** The key was given, changed or forgotten. */
  "tintype:key": CustomEvent;
  /** The credits that an answer told of. */
  "tintype:credits": CustomEvent<string>;
  /** A request of this page has ended. */
  "tintype:ended": CustomEvent;
}
