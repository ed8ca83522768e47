"""Every knob of the server, in one class, each with its reason; read from `TINTYPE_…` by the CLI alone."""

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
    """`a, b` as people write it in an environment variable → the names."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


#: What is done about content that the safety check finds: nothing, a word to the caller, or the request fails.
Safety = Literal["off", "warn", "block"]

#: How models are made faster while requests run eagerly.
Prepare = Literal["off", "compile", "graphs", "auto"]

#: Who starts workers: the server, one per device of its machine; a Ray cluster; or somebody else.
Fleet = Literal["local", "ray", "none"]

#: A bucket's name: Amazon's own are in lower case; other storages take more.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
#: What browsers send as Origin: in lower case, other alphabets as punycode, without the scheme's own port.
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
    """An address that paths can be put behind, or none at all."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # a ValueError where it is none
    except ValueError:
        parts = urlsplit("")
    plain = not (parts.query or parts.fragment or "@" in parts.netloc or "?" in text or "#" in text)
    if text and not (parts.scheme in ("http", "https") and parts.hostname and plain and _printable(text)):
        raise ValueError("it is written like https://pictures.example or http://10.0.0.1:8000/prefix")
    return text


def _printable(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & set(' "<>\\^`{|}')


def _bucket(text: str) -> str:
    """Where pictures are kept, or nothing: what a name in a bucket can't hold is refused before it is tried."""
    scheme, _, place = text.partition("://")
    name, _, prefix = place.partition("/")
    parts = prefix.strip("/").split("/") if prefix.strip("/") else []
    whole = all(part not in ("", ".", "..") and part.isprintable() and not set(part) & set("?#%\\") for part in parts)
    if text and not (scheme == "s3" and BUCKET.fullmatch(name) and whole):
        raise ValueError("it is written like s3://bucket or s3://bucket/prefix, without ? # % or \\ in it")
    return text


#: A comma-separated list in the environment.
Names = Annotated[frozenset[str], NoDecode, BeforeValidator(_split)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Networks = Annotated[frozenset[Network], NoDecode, BeforeValidator(_split)]
#: `http(s)://host`, perhaps with a port and a path; or empty.
WebAddress = Annotated[str, AfterValidator(_web_address)]
Bucket = Annotated[str, AfterValidator(_bucket)]
#: A file or folder; empty, as compose files leave what isn't set, is none, and not the folder that one is in.
Place = Annotated[Path | None, BeforeValidator(lambda path: path or None)]


class Price(BaseModel):
    """An operator's own price of one model; what it leaves out is the catalogue's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dollars: float = Field(ge=0, le=1_000_000)
    per: Literal["picture", "second"] | None = None
    #: Seconds per picture that are held, and never exceeded, where the price is per second.
    most_seconds: float | None = Field(None, gt=0, le=86_400)


def _dollars(value: object) -> object:
    """A bare number is a price that changes nothing else."""
    return value if isinstance(value, dict | Price) else {"dollars": value}


#: As the environment and the models file have it.
OwnPrice = Annotated[Price, BeforeValidator(_dollars)]


class Settings(BaseSettings):
    """What an operator can set. Only `tintype.cli` builds one from the environment; everything else is given it."""

    model_config = SettingsConfigDict(env_prefix="TINTYPE_", extra="forbid", validate_default=True)

    #: Database and pictures live under this folder.
    data: Annotated[Path, BeforeValidator(lambda path: path or "data")] = Path("data")
    #: SQLAlchemy URL; empty means a SQLite file in `data`.
    database_url: str = ""
    #: Seconds that a call waits for the database (a connection, the lock, the end of a statement) before it is a 503:
    #: callers give up after 60, and may wait several times in one call.
    database_patience: float = Field(10.0, gt=0)

    #: Where pictures are kept: `s3://bucket/prefix` of a storage with S3's API; empty means folders in `data`.
    storage_url: Bucket = ""
    #: Address of that storage, where it isn't Amazon's.
    storage_endpoint: WebAddress = ""
    #: Left empty, like the endpoint and the keys: what AWS_… says in the environment, or a role; and us-east-1.
    storage_region: str = ""
    #: Both or neither. They are used alone: no session token from the environment goes with them.
    storage_key_id: str = ""
    storage_secret: SecretStr = SecretStr("")
    #: Seconds for which a worker asks a storage that is away again before it gives a picture up, and pauses: what is
    #: made should not be lost. Callers of the web process wait 5 of them at most, and are told to come again.
    storage_patience: float = Field(60.0, gt=0)
    #: Whether `/files/…` leads to the storage by a signed address. Not all clients follow: httpx, say, must be told.
    storage_redirect: bool = False

    #: Who may read `/metrics`: those with an operator's key, anybody who reaches the port (`open`), or nobody (`off`).
    #: It names models and workers, and tells how much is asked and earned.
    metrics: Literal["operator", "open", "off"] = "operator"
    #: OpenTelemetry's exporter for traces, by its name (`console`, `otlp_proto_http`); empty is none. Needs the extra
    #: `otel`, which brings these two; OpenTelemetry's own variables (OTEL_…) say where to.
    traces: str = ""
    #: Whether log lines have prompts in them: they are private, and logs are kept and sent around.
    log_prompts: bool = False

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=0, le=65535)
    #: Origins (`https://app.example`) whose pages may call this server from a browser, or `*` for any; empty is none.
    #: Keys are in headers, never in cookies: a page can only use those that it has.
    cors_origins: Names = frozenset()
    #: Connections that one web process has open at once: some 20 kB each, and never more than half of the files that it
    #: may have open. One more closes the one that has been without a call for longest, or is refused.
    connections: int = Field(2_048, ge=1)
    #: The same for one address that is no trusted proxy's, and never more than a quarter of those that there may be:
    #: one caller shall not have all of them.
    peer_connections: int = Field(512, ge=1)
    #: Seconds that a request's line and headers may take: they fit into one packet or a few.
    head_timeout: float = Field(10.0, gt=0)
    #: Seconds without a byte of a body, or of an answer that is read: a phone may be without a network for some.
    transfer_idle: float = Field(20.0, gt=0)
    #: Bytes a second that a caller must send or read on average, after those seconds: half of what the slowest mobile
    #: networks do. 25 MB, the largest picture, may take an hour and three quarters.
    transfer_rate: float = Field(4_096.0, gt=0)
    #: Address under which callers reach the server, a path before all of its paths included; empty means the request's
    #: own Host, and in messages to an account's webhooks the Host that the webhook was added by.
    public_url: WebAddress = ""
    #: Addresses and networks of peers whose X-Forwarded-* headers are believed; anybody else's are ignored. Everybody
    #: is 0.0.0.0/0 and ::/0: right only where nobody but the proxy can reach the port.
    trusted_proxies: Networks = frozenset()
    #: Largest body taken, in bytes: a 25-megapixel JPEG as base64 fits.
    max_body: int = Field(32 * 2**20, ge=1)
    #: Bytes of bodies under way at once, of one account and of all; one alone is always taken. Each byte takes up to
    #: four of memory while its picture is found and checked, and several accounts should find room beside each other.
    account_bodies: int = Field(128 * 2**20, ge=0)
    bodies: int = Field(512 * 2**20, ge=0)
    #: Seconds that a v1 call waits before it answers 504; vendor's clients give up at 60 or later.
    sync_wait: float = Field(300.0, gt=0)
    #: Seconds that a server which is told to stop goes on serving while `/ready` says 503 and connections are told to
    #: close: whoever routes calls needs a moment to send them elsewhere. 0 where nobody is in front.
    web_drain: float = Field(2.0, ge=0)
    #: Seconds that calls under way then have to end: time for most pictures. After it v1 calls that still wait are
    #: answered, and a request whose caller could not ask for it again is cancelled.
    web_grace: float = Field(30.0, ge=0)

    #: Key of the first account, for containers and tests; empty means one is drawn and printed once.
    bootstrap_key: SecretStr = SecretStr("")
    #: Dollars the first account starts with: it is the operator's own machine.
    bootstrap_credits: float = Field(1000.0, ge=0, le=1_000_000_000)

    #: Whether requests cost anything; without it nothing is held or charged, and credits are `unlimited`.
    billing: bool = True
    #: By model slug, the catalogue's where not named: dollars, or `{"dollars": 0.001, "per": "second"}`.
    prices: dict[str, OwnPrice] = {}

    #: Requests per minute of all keys of an account together, but for those with a number from `tintype keys create`:
    #: per key, whoever makes keys would make limits. 0 is no limit, as in the next two.
    key_rpm: int = Field(0, ge=0)
    #: Requests, queued or running, of the same keys together.
    key_concurrency: int = Field(0, ge=0)
    #: Pictures, queued or running, of the same keys together.
    key_max_queued: int = Field(0, ge=0)
    #: API keys in force that an account may have when it makes them itself (`POST /v2/keys`). 0 leaves that to
    #: `tintype keys`.
    account_keys: int = Field(20, ge=0)
    #: API keys that an account may make in a day: those that stopped working are kept for a while, and listed.
    account_keys_daily: int = Field(50, ge=1)
    #: Changes to its keys and webhooks that an account may make in a day: each is a row of the audit log.
    account_acts: int = Field(500, ge=1)
    #: Seconds that the audit log keeps who did what: longer than people take to ask.
    audit_life: float = Field(365 * 86_400.0, gt=0)
    #: v1 calls and event streams that an account may have open at once in one web process, and all accounts together.
    #: They share one look at the database; what each takes is a connection, some memory, and an answer at its end.
    account_waits: int = Field(256, ge=1, le=10_000)
    waits: int = Field(1024, ge=1, le=10_000)
    #: Pictures, queued or running, of all keys: nobody waits for more, and each takes disk and looking through.
    queue: int = Field(10_000, ge=0)
    #: How much of them one account's may be: else one could keep all others out, and cancel free of charge.
    queue_share: float = Field(0.5, gt=0, le=1)

    #: Workers on this machine, on a Ray cluster (docs/fleet.md), or none: somebody else starts them.
    fleet: Fleet = "local"
    #: Fewest and most workers of a Ray fleet. None costs nothing while nobody asks, but has the first request wait for
    #: a machine and for weights; the most bounds what a burst can cost.
    fleet_min: int = Field(0, ge=0)
    fleet_max: int = Field(4, ge=1)
    #: Seconds after which all that is asked for should be done: there are as many workers as that takes. About as long
    #: as a machine needs to come: with less, most of them would come too late to help.
    fleet_wait: float = Field(60.0, gt=0)
    #: Seconds for which fewer workers must have been enough before some are let go: what a machine and a load of
    #: weights cost should not be paid again for every pause between two bursts.
    fleet_cooldown: float = Field(300.0, ge=0)
    #: The Ray cluster to join: `auto` is the one of this machine; else `host:port`, or `ray://host:port` from outside.
    ray_address: str = Field("auto", min_length=1)
    #: Ray's name for what belongs together. Fleets tell their actors apart by their databases; a copy of a database, on
    #: the same cluster as the original, needs another.
    ray_namespace: str = Field("tintype", min_length=1)
    #: GPUs of one worker: 1, or a share of one, by which its memory is shared too; 0 draws on CPUs.
    ray_gpus: float = Field(1.0, ge=0, le=1)
    #: CPUs of one worker, never 0: encoding pictures, prompts and the loading of weights take some beside any GPU.
    ray_cpus: float = Field(1.0, gt=0)

    #: `auto` is every GPU, or the CPU; else a comma-separated list (`cuda:0,cuda:1`, `cpu`).
    devices: str = "auto"
    #: `auto` is bfloat16 where the device computes in it and a model's layers are measured to be faster in it.
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    #: Compile models for the shapes that they meet, record them as CUDA graphs, or (`auto`) both where there is a GPU.
    #: Off as long as no GPU has been seen to do it: it takes a minute of a CPU core or more per shape, and memory.
    prepare: Prepare = "off"
    #: CPU threads of one worker; 0 leaves torch's own choice.
    threads: int = Field(0, ge=0)
    #: Most rows (pictures, twice with guidance) in one forward pass.
    max_rows: int = Field(16, ge=2)
    #: Most pictures that a worker has in hand at once; more only wait in memory instead of the queue. One account's are
    #: three quarters of them, or as many as `max_rows`: others shall not wait until something has ended.
    max_pictures: int = Field(32, ge=1)
    #: Folder in the diffusers layout, or file in the original one, per slug; wins over the models file and pulls.
    weights: dict[str, Path] = {}
    #: The models file: sources, further slugs, LoRAs (docs/weights.md); None is `models.toml` in `data`, if any.
    models: Place = None
    #: Where `tintype models pull` puts weights; None is `models` in `data`.
    models_folder: Place = None
    #: Rows of T5 text, unless the weights' own `tintype.json` says; 256 is what diffusers' SD3 pipelines use.
    t5_tokens: int = Field(256, ge=1, le=512)

    #: Gigabytes of the device's memory that a worker may use for weights and work; `auto` is what is free when it
    #: starts, less a margin. Workers that share a device need a number each, or a share.
    memory: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    #: How much of all the device's memory `auto` may count on at most; a Ray fleet gives each worker that of its GPU.
    memory_share: float = Field(1.0, gt=0, le=1)
    #: Seconds after which weights that nobody used leave the device, for other programs' sake; 0 is never: they leave
    #: when other weights need their room, and not before.
    keep_alive: float = Field(0.0, ge=0)
    #: Models that are loaded at the start and never leave the device.
    pin: Names = frozenset()
    #: Where SD 3's third and by far largest text encoder works. `cpu` spares a GPU 9.5 GB and costs some seconds per
    #: new prompt; `none` leaves it out, and long prompts are followed less well.
    t5: Literal["device", "cpu", "none"] = "device"
    #: Megabytes for encoded prompts: 64 hold 24 of SD 3's or 540 of SD 1.5's, which then cost nothing.
    prompt_cache: int = Field(64, ge=0)

    #: What is done about content that the safety check finds, for keys without a `--safety` of their own.
    safety: Safety = "off"
    #: Who looks at finished pictures: the classifier of the extra `safety`, Stable Diffusion's own, or nobody.
    safety_checker: Literal["opennsfw", "diffusers", "none"] = "opennsfw"
    #: Probability from which the `opennsfw` classifier's word counts; `diffusers` has limits of its own.
    safety_threshold: float = Field(0.5, ge=0, le=1)
    #: Folder with `safety_checker/` and `feature_extractor/`; empty means the first of `weights` that has them.
    safety_weights: Place = None
    #: File of phrases, one to a line, that prompts are refused for wherever `safety` isn't off.
    blocked_prompts: Place = None

    #: Write into every picture's file how it was made, the prompt included, for `tintype replay`.
    embed_recipe: bool = True

    #: Seconds a claimed request is a worker's own unless renewed: how long a dead worker's request waits.
    lease: float = Field(15.0, gt=0)
    #: Attempts after which a request is given up; those that a worker handed back don't count.
    max_attempts: int = Field(3, ge=1)
    #: Seconds between renewals; also how fresh progress is and how fast a cancel is noticed.
    heartbeat: float = Field(0.5, gt=0)
    #: Seconds between looks into an empty queue.
    poll: float = Field(0.05, gt=0)
    #: The same where the database tells workers what was queued, as PostgreSQL does: in case that they missed it.
    poll_with_bell: float = Field(1.0, gt=0)
    #: Seconds for which a new request is left to a worker that has its model loaded and has room, before any other may
    #: load it too. Longer than a worker's step, as it claims between two; much shorter than a load. 0 turns it off.
    warm_wait: float = Field(0.5, ge=0)
    #: Seconds a stopping worker may go on with what it has; the rest goes back to the queue.
    grace: float = Field(20.0, ge=0)
    #: Seconds a request's record is kept after its end (the contract says one hour).
    retention: float = Field(3600.0, gt=0)
    #: Seconds a picture is kept; 0 means as long as a record.
    file_life: float = Field(0.0, ge=0)
    #: Seconds after which an input picture goes that no unended request needs: a crash left it behind. The others go
    #: when their requests end. Longer than a submit takes.
    input_life: float = Field(3_600.0, gt=0)
    #: Bytes that input pictures from the bodies of one account's requests may take until those end. Apart from
    #: `asset_quota`: who has uploaded a lot could send none for days otherwise.
    input_quota: int = Field(2**30, ge=0)
    #: Seconds between two runs of the expiry task.
    sweep: float = Field(30.0, gt=0)

    #: Hosts (`name`, `name:port`) that pictures may be fetched from although their address is not public.
    fetch_allow: Names = frozenset()
    #: Largest picture file taken, in bytes.
    max_picture_bytes: int = Field(25 * 2**20, ge=1)
    #: Most pixels in a source picture: above it lie decompression bombs.
    max_picture_pixels: int = Field(50_000_000, ge=1)
    #: Seconds for one download, redirects included.
    fetch_timeout: float = Field(15.0, gt=0)
    #: Input images that a worker decodes at the same time, each in a process of its own, which may take 1 GB for a
    #: moment. No account has more than half of them: nobody's image waits for all that another one sends.
    decoders: int = Field(2, ge=1)
    #: Seconds of CPU time for decoding one input image: 50 megapixels take 1 to 2.
    decode_timeout: float = Field(10.0, gt=0)

    #: Seconds that an account can look back at its requests after their end; 0 keeps no history.
    history_life: float = Field(90 * 86_400.0, ge=0)
    #: Seconds that an uploaded picture is kept.
    asset_life: float = Field(7 * 86_400.0, gt=0)
    #: Bytes that the uploads of one account may take, where a file counts as 64 KiB at least.
    asset_quota: int = Field(2**30, ge=0)

    #: Seconds between looks at a request whose events somebody follows.
    events_poll: float = Field(0.25, gt=0)
    #: Seconds of silence after which a comment keeps proxies from closing the stream.
    events_heartbeat: float = Field(15.0, gt=0)

    #: Hosts (`name`, `name:port`) that webhooks may be sent to although their address is not public.
    webhook_allow: Names = frozenset()
    #: Seconds that a receiver may take to answer.
    webhook_timeout: float = Field(10.0, gt=0)
    #: Deliveries under way at once in one server; one receiver has at most two of them.
    webhook_senders: int = Field(16, ge=1)
    #: Seconds between looks into an empty outbox; four times as many while no request waits or runs.
    webhook_poll: float = Field(0.25, gt=0)
    #: Seconds until the first repetition; each pause after it is four times as long, up to the longest.
    webhook_backoff: float = Field(5.0, gt=0)
    webhook_longest_pause: float = Field(6 * 3600.0, gt=0)
    #: Attempts for one delivery: with the pauses above, half a day.
    webhook_attempts: int = Field(9, ge=1)
    #: Seconds that the old secret signs too after a rotation.
    webhook_overlap: float = Field(86_400.0, ge=0)
    #: Seconds that the log of a delivery is kept after its end.
    webhook_retention: float = Field(30 * 86_400.0, gt=0)

    @field_validator("*")
    @classmethod
    def _finite(cls, value: object) -> object:
        if isinstance(value, float) and not isfinite(value):
            raise ValueError("Input should be a finite number")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_as_browsers_send_them(cls, origins: frozenset[str]) -> frozenset[str]:
        for origin in origins:
            if origin != "*" and (not ORIGIN.fullmatch(origin) or origin.endswith(DEFAULT_PORTS[origin.split(":")[0]])):
                allowed = "scheme and host in lower case, the port unless it is the scheme's own, nothing after it"
                raise ValueError(f"{origin} is no origin: {allowed} (https://app.example), or * for any")
        return origins

    @field_validator("storage_secret")
    @classmethod
    def _with_its_key(cls, secret: SecretStr, others: ValidationInfo) -> SecretStr:
        if bool(secret.get_secret_value()) != bool(others.data.get("storage_key_id")):
            raise ValueError("TINTYPE_STORAGE_KEY_ID and TINTYPE_STORAGE_SECRET go together: set both, or neither")
        return secret

    @field_validator("fleet_max")
    @classmethod
    def _at_least_the_fewest(cls, most: int, others: ValidationInfo) -> int:
        if most < (fewest := others.data.get("fleet_min", 0)):
            raise ValueError(f"fleet_min is {fewest}: the most can't be fewer")
        return most

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database_url or f"sqlite:///{(self.data / 'tintype.db').absolute()}"

    @property
    def safety_folder(self) -> Path | None:
        """Where Stable Diffusion's own safety checker lies, if it is anywhere."""
        folders = [self.safety_weights] if self.safety_weights else [*self.weights.values()]
        return next((folder for folder in folders if (folder / "safety_checker").is_dir()), None)

    @property
    def pulled(self) -> Path:
        """Where pulled weights are kept."""
        return self.models_folder or self.data / "models"

    @property
    def models_file(self) -> Path | None:
        """The models file, or None where none is named and none is there."""
        usual = self.data / "models.toml"
        return self.models or (usual if usual.is_file() else None)

    @property
    def outputs_folder(self) -> Path:
        """Where finished pictures are kept."""
        return self.data / "outputs"

    @property
    def prepared_folder(self) -> Path:
        """Where the compiler keeps what it has made, for the next start."""
        return self.data / "prepared"

    @property
    def inputs_folder(self) -> Path:
        """Where the pictures that callers sent in a body are kept."""
        return self.data / "inputs"

    @property
    def assets_folder(self) -> Path:
        """Where the pictures that callers uploaded are kept."""
        return self.data / "assets"

    @property
    def picture_life(self) -> float:
        """Seconds a picture is kept from being written: a little before its record's own time begins."""
        return self.file_life or self.retention + 5.0
