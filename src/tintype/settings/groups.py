"""Every setting of a group, with its reason: each is one field.

Its `#:` comment says what it does and why, `Env` how it is called where that is not its group's prefix and its own
name, its type what is allowed.
"""

from __future__ import annotations

from math import inf, isfinite
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from tintype.settings.values import (
    FROM_FILE,
    SECRET,
    URLS,
    AllowedValues,
    Bucket,
    Bytes,
    Env,
    Names,
    Networks,
    Origins,
    OwnPrice,
    Place,
    Seconds,
    SecondsIfSet,
    Table,
    WebAddress,
    allowed_values,
)

#: What happens to content that the safety check finds: nothing, a warning, or the request fails.
Safety = Literal["off", "warn", "block"]

#: How forward passes are made faster in the background, while requests run eagerly.
Prepare = Literal["off", "compile", "graphs", "openvino", "auto"]

#: What finished images carry.
Marking = Literal["full", "signed", "off"]

#: What starts workers: the server, one per device of its machine; a Ray cluster; or other means.
Fleet = Literal["local", "ray", "none"]


class Group(BaseModel):
    """Settings of one part of the server: a table of the settings file."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    #: What names in the environment begin with, after TINTYPE_.
    prefix: ClassVar[str] = ""

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: object, about: ValidationInfo) -> object:
        """A settings file has true and false of its own; pydantic would take them for 1 and 0."""
        info = cls.model_fields[about.field_name or ""]
        if isinstance(value, bool) and info.annotation in (int, float):
            raise ValueError(f"allowed is {allowed_values(info)}")
        return value

    @field_validator("*")
    @classmethod
    def _usable(cls, value: object) -> object:
        if isinstance(value, float) and not isfinite(value):
            raise ValueError("allowed is a finite number")
        if isinstance(value, str | Path) and "\0" in str(value):  # a file can have it; addresses and paths can't
            raise ValueError("allowed is a text without NUL")
        return value


class WebSettings(Group):
    """The HTTP server."""

    #: Address to listen on; 0.0.0.0 is every one of this machine's.
    host: str = Field("127.0.0.1", min_length=1)
    #: Port to listen on; 0 is any free one.
    port: int = Field(8000, ge=0, le=65535)
    #: Address of the server for callers, with a path in front of all of its paths; empty means the request's own Host,
    #: and in webhook messages the Host of the call that added the webhook.
    public_url: WebAddress = ""
    #: Addresses and networks of peers whose X-Forwarded-* headers are trusted; all others' are ignored. All peers are
    #: 0.0.0.0/0 and ::/0: right only where the proxy alone can reach the port.
    trusted_proxies: Networks = frozenset()
    #: Origins (`https://app.example`) whose pages may call this server from a browser, or `*` for any; empty is none.
    #: Keys are in headers, never in cookies: a page can only use its own.
    cors_origins: Origins = frozenset()
    #: Max open connections of one web process: some 20 kB each, and never more than half of its file limit. One more
    #: closes the connection that has been without a call for longest, or is refused.
    connections: int = Field(2_048, ge=1)
    #: The same for one address that is no trusted proxy's, and never more than a quarter of the above: no caller can
    #: take them all.
    peer_connections: int = Field(512, ge=1)
    #: Time for a request's line and headers, which fit into one packet or a few.
    head_timeout: Seconds = Field(10.0, gt=0)
    #: Time without a byte of a body, or of an answer that is read: a phone may lose its network for some.
    transfer_timeout: Annotated[Seconds, Env("TRANSFER_TIMEOUT", older="TRANSFER_IDLE")] = Field(20.0, gt=0)
    #: Bytes a second that a caller must send or read on average, after that time: half the rate of the slowest mobile
    #: networks. 25 MB, the largest image, may take an hour and three quarters.
    transfer_rate: float = Field(4_096.0, gt=0)
    #: How long a v1 call waits before it answers 504; the vendor's clients give up after a minute or later.
    sync_timeout: Annotated[Seconds, Env("SYNC_TIMEOUT", older="SYNC_WAIT")] = Field(300.0, gt=0)
    #: Time between queries of a request with event streams.
    events_poll: Seconds = Field(0.25, gt=0)
    #: Time without events after which a comment keeps proxies from closing the stream.
    events_heartbeat: Seconds = Field(15.0, gt=0)
    #: How long a stopping server still serves, while `/ready` says 503 and connections are told to close: load
    #: balancers need time to send calls elsewhere. 0 without one.
    drain: Annotated[Seconds, Env("WEB_DRAIN")] = Field(2.0, ge=0)
    #: Time for calls to end after that: enough for most images. Then waiting v1 calls are answered, and a request
    #: whose caller can't query it again is cancelled.
    grace: Annotated[Seconds, Env("WEB_GRACE")] = Field(30.0, ge=0)


class DatabaseSettings(Group):
    """Where requests, accounts and credits are."""

    prefix = "DATABASE_"

    #: SQLAlchemy URL; empty means a SQLite file in the data folder.
    url: Annotated[str, SECRET, AllowedValues(URLS)] = Field("", repr=False)
    #: Timeout for the database (a connection, the lock, a statement), then 503: callers give up after a minute, and one
    #: call may wait several times.
    timeout: Annotated[Seconds, Env("DATABASE_TIMEOUT", older="DATABASE_PATIENCE")] = Field(10.0, gt=0)


class StorageSettings(Group):
    """Where images are."""

    prefix = "STORAGE_"

    #: `s3://bucket/prefix` of a storage with S3's API; empty means folders in the data folder.
    url: Bucket = ""
    #: Address of that storage, unless it is Amazon's.
    endpoint: WebAddress = ""
    #: Empty, like the endpoint and the keys: AWS_… of the environment, or a role; and us-east-1.
    region: str = ""
    #: Both or neither. They are used alone: no session token from the environment goes with them.
    key_id: Annotated[str, FROM_FILE] = ""
    #: The key's secret.
    secret: Annotated[SecretStr, SECRET] = SecretStr("")
    #: How long a worker retries an unavailable storage before it gives an image up, and pauses: outputs should not be
    #: lost. Callers of the web process wait 5 seconds at most, and are told to come back.
    timeout: Annotated[Seconds, Env("STORAGE_TIMEOUT", older="STORAGE_PATIENCE")] = Field(60.0, gt=0)
    #: Whether `/files/…` redirects to a signed address of the storage. Not all clients follow redirects by default,
    #: such as httpx.
    redirect: bool = False

    @field_validator("secret")
    @classmethod
    def _with_key_id(cls, secret: SecretStr, others: ValidationInfo) -> SecretStr:
        if bool(secret.get_secret_value()) != bool(others.data.get("key_id")):
            raise ValueError("TINTYPE_STORAGE_KEY_ID and TINTYPE_STORAGE_SECRET go together: set both, or neither")
        return secret


class AccountSettings(Group):
    """The first account."""

    #: Its key, for containers and tests; empty means a random one, printed once.
    bootstrap_key: Annotated[SecretStr, SECRET] = SecretStr("")
    #: Its initial dollars; it is the operator's own.
    bootstrap_credits: float = Field(1000.0, ge=0, le=1_000_000_000)


class BillingSettings(Group):
    """What requests cost."""

    #: Whether they cost anything; without it nothing is held or charged, and credits are `unlimited`.
    enabled: Annotated[bool, Env("BILLING")] = True
    #: By model slug, the catalogue's by default: dollars, or `{"dollars": 0.001, "per": "second"}`.
    prices: Table[OwnPrice] = {}


class LimitSettings(Group):
    """What accounts may use. 0 is no limit in the first three."""

    #: Requests per minute of all keys of an account together, except keys with a limit of their own from an operator: a
    #: limit per key could be raised by making keys.
    key_rpm: int = Field(0, ge=0)
    #: Requests, queued or running, of the same keys together.
    key_concurrency: int = Field(0, ge=0)
    #: Images, queued or running, of the same keys together.
    key_max_queued: int = Field(0, ge=0)
    #: Max images, queued or running, of all keys: each takes disk space and time in scans.
    queue: int = Field(10_000, ge=0)
    #: The share of them that one account may have: otherwise one could block all others, and cancel free of charge.
    queue_share: float = Field(0.5, gt=0, le=1)
    #: Max active API keys of an account that makes them itself (`POST /v2/keys`). 0 allows only `tintype keys`.
    account_keys: int = Field(20, ge=0)
    #: Max API keys that an account may make in a day: inactive ones are still stored for a while, and listed.
    account_keys_daily: int = Field(50, ge=1)
    #: Max changes to its keys and webhooks that an account may make in a day: each is a row of the audit log.
    account_changes_daily: Annotated[int, Env("ACCOUNT_CHANGES_DAILY", older="ACCOUNT_ACTS")] = Field(500, ge=1)
    #: Max concurrent v1 calls and event streams of an account in one web process. They share one query of the database;
    #: each takes a connection, some memory, and an answer at its end.
    account_waits: int = Field(256, ge=1, le=10_000)
    #: The same of all accounts; raise `connections` with it.
    waits: int = Field(1024, ge=1, le=10_000)
    #: Max size of a body: a 25-megapixel JPEG as base64 fits.
    max_body: Bytes = Field(32 * 2**20, ge=1)
    #: Max size of an account's concurrent bodies; a single one is always accepted. Each byte takes up to four of memory
    #: while its image is found and checked, and several accounts should fit.
    account_bodies: Bytes = Field(128 * 2**20, ge=0)
    #: The same of all accounts.
    bodies: Bytes = Field(512 * 2**20, ge=0)
    #: Max size of the input images from the bodies of one account's queued and running requests. Apart from the uploads
    #: below: an account with many uploads could send none for days otherwise.
    input_quota: Bytes = Field(2**30, ge=0)
    #: Max size of the uploads of one account, where a file counts as 64 KiB or more.
    upload_quota: Annotated[Bytes, Env("UPLOAD_QUOTA", older="ASSET_QUOTA")] = Field(2**30, ge=0)


class InputSettings(Group):
    """Input images: what is accepted, and how they are fetched and decoded."""

    #: Max size of an image file.
    max_bytes: Annotated[Bytes, Env("MAX_IMAGE_BYTES", older="MAX_PICTURE_BYTES")] = Field(25 * 2**20, ge=1)
    #: Max pixels of an input image, against decompression bombs.
    max_pixels: Annotated[int, Env("MAX_IMAGE_PIXELS", older="MAX_PICTURE_PIXELS")] = Field(50_000_000, ge=1)
    #: Hosts (`name`, `name:port`) that images may be fetched from although their address is not public.
    fetch_allow: Names = frozenset()
    #: Time for one download, redirects included.
    fetch_timeout: Seconds = Field(15.0, gt=0)
    #: Input images that a worker decodes concurrently, each in a process of its own, which may take 1 GB for a moment.
    #: No account has more than half of them, so that none waits for all of another's images.
    decoders: int = Field(2, ge=1)
    #: CPU time for decoding one input image: 50 megapixels take 1 to 2 seconds, as AVIF up to 9.
    decode_timeout: Seconds = Field(10.0, gt=0)


class RetentionSettings(Group):
    """How long things are stored."""

    #: Time until a request's record expires after its end (the contract says one hour).
    record_ttl: Annotated[Seconds, Env("RECORD_TTL", older="RETENTION")] = Field(3600.0, gt=0)
    #: Time until an image expires after its request's end, unless its account keeps it; 0 is no end. The record's hour
    #: is the contract's; on one's own disk, images that are gone after an hour are lost work.
    images_ttl: Seconds = Field(30 * 86_400.0, ge=0)
    #: Max size of all images together; 0 is no limit. Beyond it the oldest are removed: not those whose record hasn't
    #: expired, as clients may not have fetched them yet, nor those that their accounts keep, as that was promised; one
    #: account may keep as many as take half of it, and all together as many as take all of it. On a disk with less than
    #: 1 GiB free, or 5 % of a small one, more are removed.
    images_budget: Bytes = Field(20 * 2**30, ge=0)
    #: Time until an image expires, as it was before `images_ttl`: where this is set, it holds instead. 0 means with its
    #: record.
    output_ttl: Annotated[SecondsIfSet, Env("OUTPUT_TTL", older="FILE_LIFE")] = Field(None, ge=0)
    #: Time after which an input image is removed that no queued or running request needs: a crash left it behind. All
    #: others are removed when their requests end. Longer than a submit takes.
    input_ttl: Annotated[Seconds, Env("INPUT_TTL", older="INPUT_LIFE")] = Field(3_600.0, gt=0)
    #: Time until an uploaded image expires.
    upload_ttl: Annotated[Seconds, Env("UPLOAD_TTL", older="ASSET_LIFE")] = Field(7 * 86_400.0, gt=0)
    #: Time until an ended request is removed from its account's history; 0 keeps no history.
    history_ttl: Annotated[Seconds, Env("HISTORY_TTL", older="HISTORY_LIFE")] = Field(90 * 86_400.0, ge=0)
    #: Time until the log of a webhook's delivery expires after its end.
    delivery_ttl: Annotated[Seconds, Env("DELIVERY_TTL", older="WEBHOOK_RETENTION")] = Field(30 * 86_400.0, gt=0)
    #: Time until rows of the audit log expire.
    audit_ttl: Annotated[Seconds, Env("AUDIT_TTL", older="AUDIT_LIFE")] = Field(365 * 86_400.0, gt=0)
    #: Time between two runs of the cleanup.
    cleanup_interval: Annotated[Seconds, Env("CLEANUP_INTERVAL", older="SWEEP")] = Field(30.0, gt=0)

    @property
    def image_ttl(self) -> float:
        """Seconds until an image expires after its request's end; perhaps infinite."""
        if self.output_ttl is not None:
            return self.output_ttl or self.record_ttl
        return self.images_ttl or inf

    @property
    def file_ttl(self) -> float:
        """The same from its writing: a little before its request's end."""
        return self.image_ttl + 5.0


class QueueSettings(Group):
    """How workers claim requests. The same for all processes on one database."""

    #: How long a claimed request stays with its worker unless renewed, and so a dead worker's request waits.
    lease: Seconds = Field(15.0, gt=0)
    #: Attempts after which a request is given up; those that a worker handed back don't count.
    max_attempts: int = Field(3, ge=1)
    #: Time between a worker's renewals; also the delay of progress and of cancels. One that has nothing in hand
    #: reports every 2 seconds, unless this is longer.
    heartbeat: Seconds = Field(0.5, gt=0)
    #: Time between queries of an empty queue, and of the requests that calls wait for.
    poll: Seconds = Field(0.05, gt=0)
    #: The same where processes are woken, in case a wake-up is missed: by PostgreSQL's notifications, or by sockets in
    #: the folder `wake` next to SQLite's file. There are none on some network file systems; then `poll` holds.
    poll_with_notify: Annotated[Seconds, Env("POLL_WITH_NOTIFY", older="POLL_WITH_BELL")] = Field(1.0, gt=0)
    #: How long a new request is left to a worker that has its model loaded and has capacity, before any other may load
    #: it too. Longer than a worker's step, as it claims between two; much shorter than a load. 0 turns it off.
    warm_wait: Seconds = Field(0.5, ge=0)


class WorkerSettings(Group):
    """What a worker does with the requests that it has claimed."""

    #: `auto` is bfloat16 where the device computes in it and a model's layers are measured to be faster in it.
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    #: Compile models for the shapes in use, record them as CUDA graphs, or (`auto`) both on a GPU. On a CPU, `openvino`
    #: compiles with OpenVINO, an extra, and so does `auto` where that is installed and measured to be faster. Off by
    #: default until measured on a GPU: it takes up to minutes of a CPU core per shape, and memory; with OpenVINO some
    #: ten seconds, and as much memory as the weights once more.
    prepare: Prepare = "off"
    #: CPU threads of one worker; 0 is torch's default.
    threads: int = Field(0, ge=0)
    #: Max rows (images, twice with guidance) in one forward pass.
    max_rows: int = Field(16, ge=2)
    #: Max concurrent images of a worker; more would only wait in memory instead of the queue. One account may have
    #: three quarters of them, or as many as `max_rows`, so that others need not wait for the end of one.
    max_images: Annotated[int, Env("MAX_IMAGES", older="MAX_PICTURES")] = Field(32, ge=1)
    #: Write into every image's file how it was made, the prompt included, for `tintype replay`.
    embed_recipe: bool = True
    #: How long a stopping worker continues its requests; the rest goes back to the queue.
    grace: Seconds = Field(20.0, ge=0)


class ModelSettings(Group):
    """Which models there are, and where their weights lie."""

    #: Folder in the diffusers layout, or file in the original one, per slug; takes precedence over the models file and
    #: pulls.
    weights: Table[Path] = {}
    #: The models file: sources, further slugs, LoRAs (docs/weights.md); empty is `models.toml` in the data folder, if
    #: any.
    file: Annotated[Place, Env("MODELS_FILE", older="MODELS")] = None
    #: Where `tintype models pull` puts weights; empty is `models` in the data folder.
    folder: Annotated[Place, Env("MODELS_FOLDER")] = None
    #: Rows of T5 text, unless the weights' own `tintype.json` says; 256 is the default of diffusers' SD3 pipelines.
    t5_tokens: int = Field(256, ge=1, le=512)


class MemorySettings(Group):
    """What of a device's memory a worker may use."""

    #: Gigabytes of the device's memory for weights and work; `auto` is the free memory at the start, less a margin.
    #: Workers that share a device need a number each, or a share.
    budget: Annotated[
        Literal["auto"] | Annotated[float, Field(gt=0)], Env("MEMORY"), AllowedValues("auto, or a number above 0")
    ] = "auto"
    #: Max share of the device's memory for `auto`; a Ray fleet gives each worker the share of its GPU.
    share: Annotated[float, Env("MEMORY_SHARE")] = Field(1.0, gt=0, le=1)
    #: Time after which unused weights are offloaded, for the sake of other programs; 0 is never: they are evicted when
    #: other weights need the memory.
    keep_alive: Seconds = Field(0.0, ge=0)
    #: Models that are loaded at the start and never evicted.
    pin: Names = frozenset()
    #: Where SD 3's third and by far largest text encoder runs. `cpu` saves 9.5 GB of a GPU and costs some seconds per
    #: new prompt; `none` leaves it out, and long prompts are followed less well.
    t5: Literal["device", "cpu", "none"] = "device"
    #: Megabytes for encoded prompts: 64 hold 24 of SD 3's or 540 of SD 1.5's, which then cost nothing.
    prompt_cache: int = Field(64, ge=0)


class SafetySettings(Group):
    """The safety check, and blocked prompts."""

    #: What happens to content that the safety check finds, for keys without a `--safety` of their own.
    level: Annotated[Safety, Env("SAFETY")] = "off"
    #: The check of finished images: the classifier of the extra `safety`, Stable Diffusion's own, or none.
    checker: Annotated[Literal["opennsfw", "diffusers", "none"], Env("SAFETY_CHECKER")] = "opennsfw"
    #: Min probability for the `opennsfw` classifier to report; `diffusers` has limits of its own.
    threshold: Annotated[float, Env("SAFETY_THRESHOLD")] = Field(0.5, ge=0, le=1)
    #: Folder with `safety_checker/` and `feature_extractor/`; empty means the first of the models' `weights` that has
    #: them.
    weights: Annotated[Place, Env("SAFETY_WEIGHTS")] = None
    #: File of phrases, one per line, for which prompts are refused unless the level is `off`.
    blocked_prompts: Place = None


class ProvenanceSettings(Group):
    """What images' files say of their making (docs/provenance.md)."""

    prefix = "MARK_"

    #: What finished images carry: `signed` is IPTC's source type in XMP and a signed C2PA manifest, 3.3 kB; their
    #: pixels stay as they are drawn. `full` adds a watermark in the pixels, which outlasts the loss of both; PNG
    #: files of smooth images become twice as large. `off` adds nothing.
    mode: Annotated[Marking, Env("MARK")] = "signed"
    #: Whether a request fails, uncharged, when its images can't be signed; else they are delivered unsigned, with a
    #: warning.
    required: bool = True
    #: How long a finished image waits for a signer that fails, before its request does.
    timeout: Seconds = Field(60.0, ge=0)
    #: Certificates in PEM, the leaf first, that sign in place of the server's own; with their key, or a signer.
    certificate: Place = None
    #: The leaf's private key in PEM, on the curve P-256, without a password.
    key: Place = None
    #: What signs in place of a key, as `module:function`: bytes to an ES256 signature, by a KMS or an HSM, say.
    signer: str = ""
    #: Address of an authority for time stamps (RFC 3161), which have files outlast their certificate; empty is none.
    time: WebAddress = ""
    #: More certificates in PEM whose word is taken when images are verified, such as C2PA's trust list.
    trust: Place = None
    #: How long the log of images knows one by its file's digest and its watermark's number; 0 is no log.
    log_ttl: Seconds = Field(365 * 86_400.0, ge=0)
    #: Who may have images verified (`POST /v1/verify` and the page `/verify`): all callers, as the EU's Code of
    #: Practice on marking asks of providers; those with a key; or none.
    verify: Annotated[Literal["open", "key", "off"], Env("VERIFY")] = "open"


class WebhookSettings(Group):
    """How events are delivered to webhooks."""

    prefix = "WEBHOOK_"

    #: Hosts (`name`, `name:port`) that webhooks may be sent to although their address is not public.
    allow: Names = frozenset()
    #: Time for a receiver to answer.
    timeout: Seconds = Field(10.0, gt=0)
    #: Concurrent deliveries of one server; one receiver has at most two of them.
    senders: int = Field(16, ge=1)
    #: Time between queries of an empty outbox; four times as long while no request waits or runs.
    poll: Seconds = Field(0.25, gt=0)
    #: Time until the first retry; each pause after it is four times as long, up to the max.
    backoff: Seconds = Field(5.0, gt=0)
    #: Max time between two attempts.
    max_pause: Annotated[Seconds, Env("WEBHOOK_MAX_PAUSE", older="WEBHOOK_LONGEST_PAUSE")] = Field(6 * 3600.0, gt=0)
    #: Attempts for one delivery: with the pauses above, half a day.
    attempts: int = Field(9, ge=1)
    #: How long the old secret signs too after a rotation.
    overlap: Seconds = Field(86_400.0, ge=0)


class FleetSettings(Group):
    """What starts workers, and how many."""

    #: Workers on this machine, on a Ray cluster (docs/fleet.md), or started by other means.
    kind: Annotated[Fleet, Env("FLEET")] = "local"
    #: Devices of a local fleet: `auto` is every GPU, or the CPU; else a comma-separated list (`cuda:0,cuda:1`, `cpu`).
    devices: str = "auto"
    #: Min workers of a Ray fleet. 0 costs nothing while idle, but the first request waits for a machine and weights.
    min_workers: Annotated[int, Env("FLEET_MIN")] = Field(0, ge=0)
    #: Max workers of a Ray fleet: it bounds the cost of a burst.
    max_workers: Annotated[int, Env("FLEET_MAX")] = Field(4, ge=1)
    #: Time in which all queued work should be done: the fleet has as many workers as that takes. About the time to
    #: start a machine: with less, most workers would start too late to help.
    target_wait: Annotated[Seconds, Env("FLEET_WAIT")] = Field(60.0, gt=0)
    #: How long fewer workers must have been enough before some are stopped: the cost of starting a machine and loading
    #: weights should not be paid again after every pause between two bursts.
    cooldown: Annotated[Seconds, Env("FLEET_COOLDOWN")] = Field(300.0, ge=0)
    #: The Ray cluster to join: `auto` is the one of this machine; else `host:port`, or `ray://host:port` from outside.
    ray_address: str = Field("auto", min_length=1)
    #: Ray's namespace. Fleets tell their actors apart by their databases; a copy of a database, on the same cluster as
    #: the original, needs another namespace.
    ray_namespace: str = Field("tintype", min_length=1)
    #: GPUs of one worker: 1, or a fraction, which divides its memory too; 0 draws on CPUs.
    ray_gpus: float = Field(1.0, ge=0, le=1)
    #: CPUs of one worker, never 0: encoding images, prompts and loading weights need some in addition to any GPU.
    ray_cpus: float = Field(1.0, gt=0)

    @field_validator("max_workers")
    @classmethod
    def _not_below_min(cls, max_: int, others: ValidationInfo) -> int:
        if max_ < (min_ := others.data.get("min_workers", 0)):
            raise ValueError(f"fleet.min_workers is {min_}: fleet.max_workers can't be less")
        return max_


class TelemetrySettings(Group):
    """Metrics, traces and logs."""

    #: Access to `/metrics`: with an operator's key, for any client that reaches the port (`open`), or none (`off`). It
    #: names models and workers, and shows usage and revenue.
    metrics: Literal["operator", "open", "off"] = "operator"
    #: OpenTelemetry's exporter for traces, by its name (`console`, `otlp_proto_http`); empty is none. Needs the extra
    #: `otel`, which has these two; OpenTelemetry's own variables (OTEL_…) name the destination.
    traces: str = ""
    #: Whether log lines have prompts in them: they are private, and logs are stored and copied.
    log_prompts: bool = False
