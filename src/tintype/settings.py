"""All settings of the server, in one class, with their reasons; only the CLI reads them from `TINTYPE_…`."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: object) -> object:
    """`a, b` in an environment variable → the names."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


#: What happens to content that the safety check finds: nothing, a warning, or the request fails.
Safety = Literal["off", "warn", "block"]

#: How forward passes are made faster in the background, while requests run eagerly.
Prepare = Literal["off", "compile", "graphs", "auto"]

#: What starts workers: the server, one per device of its machine; a Ray cluster; or other means.
Fleet = Literal["local", "ray", "none"]

#: A bucket's name: Amazon's own are in lower case; other storages take more.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
#: Origin as browsers send it: in lower case, other alphabets as punycode, without the scheme's default port.
ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]+)?")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _network(text: object) -> object:
    """`10.0.0.1`, `10.0.0.0/8`, `fd00::/8`; of an address in a network (`10.0.0.1/8`), the network."""
    if not isinstance(text, str):
        return text
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a network, such as 10.0.0.1 or 10.0.0.0/8") from None
    if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped) and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _web_address(text: str) -> str:
    """An address that paths can be appended to, or an empty one."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # a ValueError where it is none
    except ValueError:
        parts = urlsplit("")
    plain = not (parts.query or parts.fragment or "@" in parts.netloc or "?" in text or "#" in text)
    if text and not (parts.scheme in ("http", "https") and parts.hostname and plain and _printable(text)):
        raise ValueError("allowed is an address such as https://images.example or http://10.0.0.1:8000/prefix")
    return text


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & set(' "<>\\^`{|}')


def _bucket(text: str) -> str:
    """A bucket, or an empty text; refuses characters that objects' names can't have."""
    scheme, _, place = text.partition("://")
    name, _, prefix = place.partition("/")
    parts = prefix.strip("/").split("/") if prefix.strip("/") else []
    whole = all(part not in ("", ".", "..") and part.isprintable() and not set(part) & set("?#%\\") for part in parts)
    if text and not (scheme == "s3" and BUCKET.fullmatch(name) and whole):
        raise ValueError("allowed is s3://bucket or s3://bucket/prefix, without ? # % or \\ in it")
    return text


#: A comma-separated list in the environment.
Names = Annotated[frozenset[str], NoDecode, BeforeValidator(_split)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Networks = Annotated[frozenset[Network], NoDecode, BeforeValidator(_split)]
#: `http(s)://host`, perhaps with a port and a path; or empty.
WebAddress = Annotated[str, AfterValidator(_web_address)]
Bucket = Annotated[str, AfterValidator(_bucket)]
#: A file or folder; empty, as compose files write unset values, is None, not the current folder.
Place = Annotated[Path | None, BeforeValidator(lambda path: path or None)]


class Price(BaseModel):
    """An operator's own price of one model; the catalogue's where a field is missing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dollars: float = Field(ge=0, le=1_000_000)
    per: Literal["picture", "second"] | None = None
    #: Seconds per image that are held, and never exceeded, where the price is per second.
    most_seconds: float | None = Field(None, gt=0, le=86_400)


def _dollars(value: object) -> object:
    """A number alone is a price in dollars; all else stays the catalogue's."""
    return value if isinstance(value, dict | Price) else {"dollars": value}


#: As the environment and the models file have it.
OwnPrice = Annotated[Price, BeforeValidator(_dollars)]


class Settings(BaseSettings):
    """What an operator can set. Only `tintype.cli` builds one from the environment; all other code receives it."""

    model_config = SettingsConfigDict(env_prefix="TINTYPE_", extra="forbid", validate_default=True)

    #: The folder of the database and of images.
    data: Annotated[Path, BeforeValidator(lambda path: path or "data")] = Path("data")
    #: SQLAlchemy URL; empty means a SQLite file in `data`.
    database_url: str = ""
    #: Seconds of timeout for the database (a connection, the lock, a statement), then 503: callers give up after 60,
    #: and one call may wait several times.
    database_patience: float = Field(10.0, gt=0)

    #: Where images are stored: `s3://bucket/prefix` of a storage with S3's API; empty means folders in `data`.
    storage_url: Bucket = ""
    #: Address of that storage, unless it is Amazon's.
    storage_endpoint: WebAddress = ""
    #: Empty, like the endpoint and the keys: AWS_… of the environment, or a role; and us-east-1.
    storage_region: str = ""
    #: Both or neither. They are used alone: no session token from the environment goes with them.
    storage_key_id: str = ""
    storage_secret: SecretStr = SecretStr("")
    #: Seconds for which a worker retries an unavailable storage before it gives an image up, and pauses: outputs should
    #: not be lost. Callers of the web process wait 5 at most, and are told to come back.
    storage_patience: float = Field(60.0, gt=0)
    #: Whether `/files/…` redirects to a signed address of the storage. Not all clients follow redirects by default,
    #: such as httpx.
    storage_redirect: bool = False

    #: Access to `/metrics`: with an operator's key, for any client that reaches the port (`open`), or none (`off`). It
    #: names models and workers, and shows usage and revenue.
    metrics: Literal["operator", "open", "off"] = "operator"
    #: OpenTelemetry's exporter for traces, by its name (`console`, `otlp_proto_http`); empty is none. Needs the extra
    #: `otel`, which has these two; OpenTelemetry's own variables (OTEL_…) name the destination.
    traces: str = ""
    #: Whether log lines have prompts in them: they are private, and logs are stored and copied.
    log_prompts: bool = False

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=0, le=65535)
    #: Origins (`https://app.example`) whose pages may call this server from a browser, or `*` for any; empty is none.
    #: Keys are in headers, never in cookies: a page can only use its own.
    cors_origins: Names = frozenset()
    #: Max open connections of one web process: some 20 kB each, and never more than half of its file limit. One more
    #: closes the connection that has been without a call for longest, or is refused.
    connections: int = Field(2_048, ge=1)
    #: The same for one address that is no trusted proxy's, and never more than a quarter of the above: no caller can
    #: take them all.
    peer_connections: int = Field(512, ge=1)
    #: Seconds for a request's line and headers, which fit into one packet or a few.
    head_timeout: float = Field(10.0, gt=0)
    #: Seconds without a byte of a body, or of an answer that is read: a phone may lose its network for some.
    transfer_idle: float = Field(20.0, gt=0)
    #: Bytes a second that a caller must send or read on average, after those seconds: half the rate of the slowest
    #: mobile networks. 25 MB, the largest image, may take an hour and three quarters.
    transfer_rate: float = Field(4_096.0, gt=0)
    #: Address of the server for callers, with a path in front of all of its paths; empty means the request's own Host,
    #: and in webhook messages the Host of the call that added the webhook.
    public_url: WebAddress = ""
    #: Addresses and networks of peers whose X-Forwarded-* headers are trusted; all others' are ignored. All peers are
    #: 0.0.0.0/0 and ::/0: right only where the proxy alone can reach the port.
    trusted_proxies: Networks = frozenset()
    #: Max bytes of a body: a 25-megapixel JPEG as base64 fits.
    max_body: int = Field(32 * 2**20, ge=1)
    #: Max bytes of concurrent bodies, of one account and of all; a single one is always accepted. Each byte takes up to
    #: four of memory while its image is found and checked, and several accounts should fit.
    account_bodies: int = Field(128 * 2**20, ge=0)
    bodies: int = Field(512 * 2**20, ge=0)
    #: Seconds that a v1 call waits before it answers 504; vendor's clients give up at 60 or later.
    sync_wait: float = Field(300.0, gt=0)
    #: Seconds for which a stopping server still serves, while `/ready` says 503 and connections are told to close: load
    #: balancers need time to send calls elsewhere. 0 without one.
    web_drain: float = Field(2.0, ge=0)
    #: Seconds for calls to end after that: enough for most images. Then waiting v1 calls are answered, and a request
    #: whose caller can't query it again is cancelled.
    web_grace: float = Field(30.0, ge=0)

    #: Key of the first account, for containers and tests; empty means a random one, printed once.
    bootstrap_key: SecretStr = SecretStr("")
    #: Initial dollars of the first account, which is the operator's own.
    bootstrap_credits: float = Field(1000.0, ge=0, le=1_000_000_000)

    #: Whether requests cost anything; without it nothing is held or charged, and credits are `unlimited`.
    billing: bool = True
    #: By model slug, the catalogue's by default: dollars, or `{"dollars": 0.001, "per": "second"}`.
    prices: dict[str, OwnPrice] = {}

    #: Requests per minute of all keys of an account together, except keys with a limit of their own from an operator: a
    #: limit per key could be raised by making keys. 0 is no limit, as in the next two.
    key_rpm: int = Field(0, ge=0)
    #: Requests, queued or running, of the same keys together.
    key_concurrency: int = Field(0, ge=0)
    #: Images, queued or running, of the same keys together.
    key_max_queued: int = Field(0, ge=0)
    #: Max active API keys of an account that makes them itself (`POST /v2/keys`). 0 allows only `tintype keys`.
    account_keys: int = Field(20, ge=0)
    #: Max API keys that an account may make in a day: inactive ones are still stored for a while, and listed.
    account_keys_daily: int = Field(50, ge=1)
    #: Max changes to its keys and webhooks that an account may make in a day: each is a row of the audit log.
    account_acts: int = Field(500, ge=1)
    #: Seconds until rows of the audit log expire.
    audit_life: float = Field(365 * 86_400.0, gt=0)
    #: Max concurrent v1 calls and event streams of an account in one web process, and of all accounts. They share one
    #: query of the database; each takes a connection, some memory, and an answer at its end.
    account_waits: int = Field(256, ge=1, le=10_000)
    waits: int = Field(1024, ge=1, le=10_000)
    #: Max images, queued or running, of all keys: each takes disk space and time in scans.
    queue: int = Field(10_000, ge=0)
    #: The share of them that one account may have: otherwise one could block all others, and cancel free of charge.
    queue_share: float = Field(0.5, gt=0, le=1)

    #: Workers on this machine, on a Ray cluster (docs/fleet.md), or started by other means.
    fleet: Fleet = "local"
    #: Min and max workers of a Ray fleet. A min of 0 costs nothing while idle, but the first request waits for a
    #: machine and for weights; the max bounds the cost of a burst.
    fleet_min: int = Field(0, ge=0)
    fleet_max: int = Field(4, ge=1)
    #: Seconds in which all queued work should be done: the fleet has as many workers as that takes. About the time to
    #: start a machine: with less, most workers would start too late to help.
    fleet_wait: float = Field(60.0, gt=0)
    #: Seconds for which fewer workers must have been enough before some are stopped: the cost of starting a machine and
    #: loading weights should not be paid again after every pause between two bursts.
    fleet_cooldown: float = Field(300.0, ge=0)
    #: The Ray cluster to join: `auto` is the one of this machine; else `host:port`, or `ray://host:port` from outside.
    ray_address: str = Field("auto", min_length=1)
    #: Ray's namespace. Fleets tell their actors apart by their databases; a copy of a database, on the same cluster as
    #: the original, needs another namespace.
    ray_namespace: str = Field("tintype", min_length=1)
    #: GPUs of one worker: 1, or a fraction, which divides its memory too; 0 draws on CPUs.
    ray_gpus: float = Field(1.0, ge=0, le=1)
    #: CPUs of one worker, never 0: encoding images, prompts and loading weights need some in addition to any GPU.
    ray_cpus: float = Field(1.0, gt=0)

    #: `auto` is every GPU, or the CPU; else a comma-separated list (`cuda:0,cuda:1`, `cpu`).
    devices: str = "auto"
    #: `auto` is bfloat16 where the device computes in it and a model's layers are measured to be faster in it.
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    #: Compile models for the shapes in use, record them as CUDA graphs, or (`auto`) both on a GPU. Off by default until
    #: measured on a GPU: it takes a minute of a CPU core or more per shape, and memory.
    prepare: Prepare = "off"
    #: CPU threads of one worker; 0 is torch's default.
    threads: int = Field(0, ge=0)
    #: Max rows (images, twice with guidance) in one forward pass.
    max_rows: int = Field(16, ge=2)
    #: Max concurrent images of a worker; more would only wait in memory instead of the queue. One account may have
    #: three quarters of them, or as many as `max_rows`, so that others need not wait for the end of one.
    max_pictures: int = Field(32, ge=1)
    #: Folder in the diffusers layout, or file in the original one, per slug; takes precedence over the models file and
    #: pulls.
    weights: dict[str, Path] = {}
    #: The models file: sources, further slugs, LoRAs (docs/weights.md); None is `models.toml` in `data`, if any.
    models: Place = None
    #: Where `tintype models pull` puts weights; None is `models` in `data`.
    models_folder: Place = None
    #: Rows of T5 text, unless the weights' own `tintype.json` says; 256 is the default of diffusers' SD3 pipelines.
    t5_tokens: int = Field(256, ge=1, le=512)

    #: Gigabytes of the device's memory for weights and work; `auto` is the free memory at the start, less a margin.
    #: Workers that share a device need a number each, or a share.
    memory: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    #: Max share of the device's memory for `auto`; a Ray fleet gives each worker the share of its GPU.
    memory_share: float = Field(1.0, gt=0, le=1)
    #: Seconds after which unused weights are offloaded, for the sake of other programs; 0 is never: they are evicted
    #: when other weights need the memory.
    keep_alive: float = Field(0.0, ge=0)
    #: Models that are loaded at the start and never evicted.
    pin: Names = frozenset()
    #: Where SD 3's third and by far largest text encoder runs. `cpu` saves 9.5 GB of a GPU and costs some seconds per
    #: new prompt; `none` leaves it out, and long prompts are followed less well.
    t5: Literal["device", "cpu", "none"] = "device"
    #: Megabytes for encoded prompts: 64 hold 24 of SD 3's or 540 of SD 1.5's, which then cost nothing.
    prompt_cache: int = Field(64, ge=0)

    #: What happens to content that the safety check finds, for keys without a `--safety` of their own.
    safety: Safety = "off"
    #: The check of finished images: the classifier of the extra `safety`, Stable Diffusion's own, or none.
    safety_checker: Literal["opennsfw", "diffusers", "none"] = "opennsfw"
    #: Min probability for the `opennsfw` classifier to report; `diffusers` has limits of its own.
    safety_threshold: float = Field(0.5, ge=0, le=1)
    #: Folder with `safety_checker/` and `feature_extractor/`; empty means the first of `weights` that has them.
    safety_weights: Place = None
    #: File of phrases, one per line, for which prompts are refused unless `safety` is off.
    blocked_prompts: Place = None

    #: Write into every image's file how it was made, the prompt included, for `tintype replay`.
    embed_recipe: bool = True

    #: Seconds that a claimed request stays with its worker unless renewed: how long a dead worker's request waits.
    lease: float = Field(15.0, gt=0)
    #: Attempts after which a request is given up; those that a worker handed back don't count.
    max_attempts: int = Field(3, ge=1)
    #: Seconds between renewals; also the delay of progress and of cancels.
    heartbeat: float = Field(0.5, gt=0)
    #: Seconds between queries of an empty queue.
    poll: float = Field(0.05, gt=0)
    #: The same where the database notifies workers, as PostgreSQL does: in case that a notification is missed.
    poll_with_bell: float = Field(1.0, gt=0)
    #: Seconds for which a new request is left to a worker that has its model loaded and has capacity, before any other
    #: may load it too. Longer than a worker's step, as it claims between two; much shorter than a load. 0 turns it off.
    warm_wait: float = Field(0.5, ge=0)
    #: Seconds for which a stopping worker continues its requests; the rest goes back to the queue.
    grace: float = Field(20.0, ge=0)
    #: Seconds until a request's record expires after its end (the contract says one hour).
    retention: float = Field(3600.0, gt=0)
    #: Seconds until an image expires; 0 means with its record.
    file_life: float = Field(0.0, ge=0)
    #: Seconds after which an input image is removed that no queued or running request needs: a crash left it behind.
    #: All others are removed when their requests end. Longer than a submit takes.
    input_life: float = Field(3_600.0, gt=0)
    #: Max bytes of input images from the bodies of one account's queued and running requests. Apart from `asset_quota`:
    #: an account with many uploads could send none for days otherwise.
    input_quota: int = Field(2**30, ge=0)
    #: Seconds between two runs of the cleanup.
    sweep: float = Field(30.0, gt=0)

    #: Hosts (`name`, `name:port`) that images may be fetched from although their address is not public.
    fetch_allow: Names = frozenset()
    #: Max bytes of an image file.
    max_picture_bytes: int = Field(25 * 2**20, ge=1)
    #: Max pixels of an input image, against decompression bombs.
    max_picture_pixels: int = Field(50_000_000, ge=1)
    #: Seconds for one download, redirects included.
    fetch_timeout: float = Field(15.0, gt=0)
    #: Input images that a worker decodes concurrently, each in a process of its own, which may take 1 GB for a moment.
    #: No account has more than half of them, so that none waits for all of another's images.
    decoders: int = Field(2, ge=1)
    #: Seconds of CPU time for decoding one input image: 50 megapixels take 1 to 2.
    decode_timeout: float = Field(10.0, gt=0)

    #: Seconds until an ended request is removed from its account's history; 0 keeps no history.
    history_life: float = Field(90 * 86_400.0, ge=0)
    #: Seconds until an uploaded image expires.
    asset_life: float = Field(7 * 86_400.0, gt=0)
    #: Max bytes of the uploads of one account, where a file counts as 64 KiB or more.
    asset_quota: int = Field(2**30, ge=0)

    #: Seconds between queries of a request with event streams.
    events_poll: float = Field(0.25, gt=0)
    #: Seconds without events after which a comment keeps proxies from closing the stream.
    events_heartbeat: float = Field(15.0, gt=0)

    #: Hosts (`name`, `name:port`) that webhooks may be sent to although their address is not public.
    webhook_allow: Names = frozenset()
    #: Seconds for a receiver to answer.
    webhook_timeout: float = Field(10.0, gt=0)
    #: Concurrent deliveries of one server; one receiver has at most two of them.
    webhook_senders: int = Field(16, ge=1)
    #: Seconds between queries of an empty outbox; four times as many while no request waits or runs.
    webhook_poll: float = Field(0.25, gt=0)
    #: Seconds until the first retry; each pause after it is four times as long, up to the max.
    webhook_backoff: float = Field(5.0, gt=0)
    webhook_longest_pause: float = Field(6 * 3600.0, gt=0)
    #: Attempts for one delivery: with the pauses above, half a day.
    webhook_attempts: int = Field(9, ge=1)
    #: Seconds for which the old secret signs too after a rotation.
    webhook_overlap: float = Field(86_400.0, ge=0)
    #: Seconds until the log of a delivery expires after its end.
    webhook_retention: float = Field(30 * 86_400.0, gt=0)

    @field_validator("*")
    @classmethod
    def _finite(cls, value: object) -> object:
        if isinstance(value, float) and not isfinite(value):
            raise ValueError("Input should be a finite number")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: frozenset[str]) -> frozenset[str]:
        for origin in origins:
            if origin != "*" and (not ORIGIN.fullmatch(origin) or origin.endswith(DEFAULT_PORTS[origin.split(":")[0]])):
                allowed = "scheme and host in lower case, the port unless it is the scheme's own, nothing after it"
                raise ValueError(f"{origin} is no origin; allowed: {allowed} (https://app.example), or * for any")
        return origins

    @field_validator("storage_secret")
    @classmethod
    def _with_key_id(cls, secret: SecretStr, others: ValidationInfo) -> SecretStr:
        if bool(secret.get_secret_value()) != bool(others.data.get("storage_key_id")):
            raise ValueError("TINTYPE_STORAGE_KEY_ID and TINTYPE_STORAGE_SECRET go together: set both, or neither")
        return secret

    @field_validator("fleet_max")
    @classmethod
    def _not_below_min(cls, max_: int, others: ValidationInfo) -> int:
        if max_ < (min_ := others.data.get("fleet_min", 0)):
            raise ValueError(f"fleet_min is {min_}: fleet_max can't be less")
        return max_

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database_url or f"sqlite:///{(self.data / 'tintype.db').absolute()}"

    @property
    def safety_folder(self) -> Path | None:
        """The folder of Stable Diffusion's own safety checker, if any."""
        folders = [self.safety_weights] if self.safety_weights else [*self.weights.values()]
        return next((folder for folder in folders if (folder / "safety_checker").is_dir()), None)

    @property
    def pulled(self) -> Path:
        """The models folder: pulled weights."""
        return self.models_folder or self.data / "models"

    @property
    def models_file(self) -> Path | None:
        """The models file, or None where none is named and the default one doesn't exist."""
        default = self.data / "models.toml"
        return self.models or (default if default.is_file() else None)

    @property
    def outputs_folder(self) -> Path:
        """Finished images."""
        return self.data / "outputs"

    @property
    def prepared_folder(self) -> Path:
        """The compiler's cache, for the next start."""
        return self.data / "prepared"

    @property
    def inputs_folder(self) -> Path:
        """Input images from bodies."""
        return self.data / "inputs"

    @property
    def assets_folder(self) -> Path:
        """Uploaded images."""
        return self.data / "assets"

    @property
    def output_ttl(self) -> float:
        """Seconds until an image expires, counted from its writing: a little before its record's time begins."""
        return self.file_life or self.retention + 5.0
