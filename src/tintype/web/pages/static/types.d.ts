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
    pace: Pace;
    parameters: { required: string[]; properties: Record<string, ParameterSchema>; examples: Values[] };
    /** Of a prompt that the model reads, without start and end marks; the built-in weights read 22. */
    prompt_tokens?: number;
    // Of models with the built-in weights, and of those that need some.
    weights?: "built-in" | "needs weights";
    weights_note?: string;
    weights_command?: string;
    /** On the Hugging Face hub; bytes to pull. */
    weights_published?: { repository: string; licence: string; gated: boolean; bytes: number };
    first?: Values;
    sample?: string;
    /** With what it was made. */
    sample_parameters?: Values;
    vocabulary?: { name: string; emoji: string }[];
    colours?: string[];
    prompts?: string[];
  }
  /** What the seconds of a request follow from; estimate.js reads it. */
  interface Pace {
    /** Of one evaluation of the model, by "<bits of width × height> <rows>". */
    seconds: Record<string, number>;
    /** Of samplers that don't evaluate once per step: how often per step, and how often in addition. */
    evaluations: Record<string, [number, number]>;
    /** Whether a strength below 1 leaves the first steps out. */
    skips: boolean;
    /** What a caller can't choose, by meaning. */
    fixed: Values;
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
    /** Who may have images verified. */
    verify: "open" | "key" | "off";
    states: Record<string, string>;
    /** `images`: null for no end. */
    kept_seconds: { record: number; images: number | null; upload: number; history: number };
    /** Bytes; null for no limit. */
    images_budget: number | null;
    inputs: InputLimits;
    key_limits: KeyLimit[];
  }
  /** What an input image may be: bytes of the file that is sent, pixels, and titles of formats. */
  interface InputLimits {
    max_bytes: number;
    max_pixels: number;
    formats: string[];
  }
  /** What a key can be limited to; `name` and `used` are members of `Key`. */
  interface KeyLimit {
    name: string;
    /** Whether it is dollars. */
    money: boolean;
    label: string;
    empty: string;
    /** With `{max}` and perhaps `{used}` in it. */
    listed: string;
    used: string;
  }
  interface Response {
    description: string;
    content: Record<string, unknown>;
  }
  interface OpenApi {
    /** Those of models that need weights are not there. */
    paths: Partial<Record<string, { post: { responses: Record<string, Response | { $ref: string }> } }>>;
    components: { responses: Record<string, Response> };
  }

  /** `id`, `name` and `credits` are not told to an operator's key that may only read. */
  interface Owner {
    id?: string;
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
  /** And by their names, limits and what counts against them. */
  interface Key {
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
    /** Of all its images that are there. */
    generation_urls: string[];
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

  /** A finished image whose file is there. */
  interface Image {
    /** Its file's. */
    name: string;
    url: string;
    request_id: string;
    model: string;
    prompt: string | null;
    seed: string;
    /** Pixels; 0 where they are not known. */
    width: number;
    height: number;
    bytes: number;
    created_at: Moment;
    kept: boolean;
    /** Null where it has no end. */
    kept_until: Moment | null;
    /** Its request's as sent, with the seed of the request's first image. */
    parameters: Values;
    /** The image that it was made from, while that one is there. */
    input_url: string | null;
    /** Its share of its request's, in dollars; and that one's seconds. */
    cost: number;
    inference_time: number;
    queue_time: number;
  }
  interface Images {
    images: Image[];
    next_cursor: string | null;
  }

  interface Metrics {
    cost: number;
    inference_time: number;
    queue_time: number;
  }
  interface Result {
    status: "COMPLETED" | "FAILED";
    error: string;
    error_description?: string;
    images: { url: string; file_name: string; seed: string }[];
    prompt: string;
    metrics: Metrics;
    warnings?: string[];
  }
  /** Data of the events queued, started and progress, and the answer of /status; `error` once it has FAILED. */
  interface Status {
    status?: "QUEUED" | "PROCESSING" | "COMPLETED" | "FAILED";
    queue_position?: number | null;
    /** In addition to its turn: until the queue is resumed, or a worker takes requests. */
    waiting_for?: "resume" | "worker";
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
  /** What a file says of its making, as parameters of a model. */
  type SignatureStatus = "here" | "other" | "tampered" | "expired" | "elsewhere" | "unreadable" | "none";
  /** Of an image's C2PA manifest. */
  interface Signature {
    status: SignatureStatus;
    signer: string | null;
    trusted: boolean;
    /** As the signer wrote it. */
    made_at: string | null;
    source_type: string | null;
    actions: string[];
  }
  interface LoggedImage {
    made_at: Moment;
    model: string;
  }
  /** Null for what was not looked for. */
  interface Verified {
    found: boolean;
    verdict: string;
    signature: Signature;
    watermark: { status: "here" | "other" | "unreadable" | "none"; number: string | null } | null;
    log: { exact: LoggedImage | null; number: LoggedImage[] } | null;
  }
  interface FoundSettings {
    /** A slug. */
    model: string;
    parameters: Values;
    source: "tintype" | "a1111";
    /** What that model hasn't, or doesn't allow. */
    unknown: { name: string; value: string }[];
    /** The parameters of the input images that it was made from, which no file carries. */
    images: string[];
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
      : Path extends `/inference-request/request-history/${string}`
        ? Api.PastRequest
        : unknown;
interface Answers {
  "/about.json": Api.About;
  "/api/auth/authenticate": Api.Owner;
  "/inference-request/recent-generations": Api.Page<Api.PastRequest>;
  "/inference-request/request-history": Api.Page<Api.PastRequest>;
  "/openapi.json": Api.OpenApi;
  "/v1/models": Api.Models;
  "/v2/images": Api.Images;
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
      : Path extends "/v2/images/keep"
        ? Pick<Api.Images, "images">
        : Path extends "/v2/images/delete"
          ? { deleted: string[] }
          : unknown;

/** Which images are listed; what is left out or empty is no condition. */
interface ImageQuery {
  limit?: number;
  cursor?: string;
  /** A slug. */
  model?: string;
  /** Days, both included. */
  from?: string;
  to?: string;
  kept?: "true" | "";
  /** Words of the prompt. */
  q?: string;
  request?: string;
  name?: string;
}

/** What a lightbox is told of the list that its image belongs to, and may do with it. */
interface Viewing {
  models: Model[];
  /** Whether this key may keep and delete. */
  mayChange(): boolean;
  /** Show the image before or after the one of this name. */
  step(name: string, by: 1 | -1): void;
  keep(images: Api.Image[], kept: boolean): Promise<void>;
  /** Delete them, once the reader has said yes. */
  remove(images: Api.Image[]): void;
  /** It was closed; `name` is the image's that was shown last. */
  closed(name: string): void;
}

/** As much of an image as it takes to show it and to save it. */
type ImageFile = Pick<Api.Image, "name" | "url"> &
  Partial<Api.Image> & {
    /** Whether its file was found to be gone; the browser's cache may still have it. */
    gone?: true;
  };

/** A parameter's value in a form: text where it is no number, or a seed that a number would lose digits of. */
type Value = string | number | boolean | null;
/** By the parameter's name. */
type Values = Record<string, Value>;

/** A parameter as a form needs it. */
interface Field {
  name: string;
  kind: "text" | "image" | "choice" | "integer" | "number" | "boolean";
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
  /** Of a mask: the input image that it lies over; called whenever that may be another one. */
  over?(image: Value): void;
  /** What is said of it at length, for where there is room. */
  said?: HTMLElement;
  /** Have what was made in the browser stored on the server, so that `read` is short; `read` is right before too. */
  ready?(): Promise<void>;
}

/** Makes a field's control; `changed` is called when its value was changed by hand. */
type MakeControl = (field: Field, id: string, changed: () => void) => Control;

/** What one press of Generate asked for: a request, or those of a strip. Plain data, which this device remembers. */
interface Plate {
  /** Made in the browser. */
  id: string;
  /** The model's slug. */
  slug: string;
  /** When it was pressed: milliseconds since 1970. */
  at: number;
  /** The form's values, the strip's own one aside; an image that lay in the form as text is left out. */
  values: Values;
  /** Of a strip: the parameter that differs from run to run. */
  varied?: string;
  /** Whether an image lay in the form as text: it can't be sent again. */
  partial?: true;
  runs: Run[];
}
/** A request of a plate. */
interface Run {
  /** Its Idempotency-Key: what is sent again after a crash is still one request. */
  key: string;
  /** Of a strip: its value of what is varied. */
  value?: Value;
  state: "sending" | "running" | "done" | "failed" | "cancelled";
  /** The request's id, once the server has it. */
  request?: string;
  images?: ImageFile[];
  metrics?: Api.Metrics;
  warnings?: string[];
  /** Why it failed, and what to do next. */
  error?: string;
  advice?: string;
  /** Whether the server may have it, though it didn't answer. */
  unsure?: true;
}
/** What is known of a run that has not ended. */
interface Live {
  /** The last one, as `Tell` has them; and sending, full with the seconds until it is sent, locked without a key. */
  event: string;
  status: Api.Status;
  /** By the image's number. */
  previews: Map<number, Api.Preview>;
  /** Whether it is being cancelled. */
  stopping: boolean;
}
/** A finished image, with the values that make this one again, and no others. */
interface MadeImage {
  file: ImageFile;
  values: Values;
  plate: Plate;
  run: Run;
}

/** What can be done with an image on the stage. */
interface ImageActs {
  /** Make it once more. */
  again(image: MadeImage): void;
  /** Have its seed in the form. */
  same(image: MadeImage): void;
  /** Make another one with another seed. */
  vary(image: MadeImage): void;
  /** Have all its values in the form. */
  settings(image: MadeImage): void;
  /** Where the model takes one. */
  input?(image: MadeImage): void;
  /** Shows it next to the one that it was made from; undefined where this page can't show that one. */
  before(image: MadeImage): (() => void) | undefined;
  compare(image: MadeImage): void;
  link(image: MadeImage): void;
  /** Told that files of a plate are gone. */
  lost(plate: Plate): void;
}

/** What other parts of the page may do with the playground. */
interface Bench {
  readonly model: Model;
  /** The form's values. */
  values(): Values;
  /** Put values into the form, which offers to undo that and says what happened; fields without one stay. */
  write(values: Values, words?: string): void;
  /** Make an image of this server, by its path, the form's input image; says so below the stage. */
  useAsInput(path: string): void;
  /** Say something below the stage. */
  say(words: string): void;
  /** Whether the form can be sent; if not, it says why at the fields. */
  sound(): boolean;
  /** Send the form; `anyway` even where that gives an image that is there. */
  generate(anyway?: boolean): void;
  /** Send the form once for each of some values of a parameter. */
  strip(field: Field, over: Value[]): void;
}

/** Listener of a request's events: queued, started, progress with its status; preview; away while no server answers. */
type Tell = (event: string, data: Api.Status | Api.Preview) => void;

/** What a snippet is written from: the server's address, the model, the body, its JSON, and the file for the answer. */
interface Ask {
  base: string;
  model: Model;
  slug: string;
  body: Values;
  json: string;
  answer: string;
}
/** A language of the API tab: the file that the code belongs in, what it needs, and which models it is offered for. */
interface Language {
  name: string;
  file: string;
  needs: string;
  takes?(model: Model): boolean;
  write(ask: Ask): string;
}

/** What is sent to the server. */
type Sending = Omit<RequestInit, "headers"> & { headers: Record<string, string> };

/** What was dropped or pasted: a file, one of `of`; an image of this server by its path; or another page's address. */
type Found = { file: File | Blob; of: number } | { path: string } | { link: string };

/** What an error says, and what to do next; `status` where the server answered. */
interface Refusal extends Error {
  status?: number;
  advice?: string;
  /** Seconds after which the same can be asked again; 0 where the server names none. */
  retryAfter?: number;
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
  /** The settings of a file are wanted in the form. */
  "tintype:settings": CustomEvent<Api.FoundSettings>;
}
