"""What settings' values look like: their types, how each is written, and how it is told in words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from inspect import getsource
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Env:
    """A setting's name in the environment, after TINTYPE_, and the one that earlier versions had."""

    name: str
    older: str = ""


@dataclass(frozen=True)
class FromFile:
    """A setting that `TINTYPE_…_FILE` may name a file for, as containers are given secrets; hidden: never shown."""

    hidden: bool


SECRET, FROM_FILE = FromFile(hidden=True), FromFile(hidden=False)


@dataclass(frozen=True)
class Unit:
    """What a number counts."""

    name: str


@dataclass(frozen=True)
class AllowedValues:
    """What a setting may be, in words, where its type and bounds don't say."""

    words: str


def _split(value: object) -> object:
    """`a, b` in an environment variable → the names."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _table(value: object) -> object:
    """JSON in an environment variable → the table."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("""allowed is JSON, such as {"sd1.5-img2img": "/models/sd15"}""") from None


#: A bucket's name: Amazon's own are in lower case; other storages take more.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
#: Origin as browsers send it: in lower case, other alphabets as punycode, without the scheme's default port.
ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]+)?")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
ADDRESS = "an address such as https://images.example or http://10.0.0.1:8000/prefix"
URLS = (
    "postgresql+psycopg://user:password@host/database (with / and @ in a password as %2F and %40), or"
    " sqlite:////folder/tintype.db"
)
BUCKETS = "s3://bucket or s3://bucket/prefix, without ? # % or \\ in it, the bucket's name of 3 to 63 characters"


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


def _origins(origins: frozenset[str]) -> frozenset[str]:
    """Raise ValueError for what no browser sends as an origin."""
    for origin in origins:
        if origin != "*" and (not ORIGIN.fullmatch(origin) or origin.endswith(DEFAULT_PORTS[origin.split(":")[0]])):
            wanted = "scheme and host in lower case, the port unless it is the scheme's own, nothing after it"
            raise ValueError(f"{origin} is no origin; allowed: {wanted} (https://app.example), or * for any")
    return origins


def _web_address(text: str) -> str:
    """An address that paths can be appended to, or an empty one."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # a ValueError where it is none
    except ValueError:
        parts = urlsplit("")
    plain = not (parts.query or parts.fragment or "@" in parts.netloc or "?" in text or "#" in text)
    if text and not (parts.scheme in ("http", "https") and parts.hostname and plain and _printable(text)):
        raise ValueError(f"allowed is {ADDRESS}")
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
        raise ValueError(f"allowed is {BUCKETS}")
    return text


#: A comma-separated list in the environment.
Names = Annotated[frozenset[str], BeforeValidator(_split), AllowedValues("a list of names")]
Origins = Annotated[Names, AfterValidator(_origins), AllowedValues("a list of origins")]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Networks = Annotated[
    frozenset[Network], BeforeValidator(_split), AllowedValues("a list of addresses and networks, such as 10.0.0.0/8")
]
#: `http(s)://host`, perhaps with a port and a path; or empty.
WebAddress = Annotated[str, AfterValidator(_web_address), AllowedValues(ADDRESS)]
Bucket = Annotated[str, AfterValidator(_bucket), AllowedValues(BUCKETS)]
T = TypeVar("T")
#: By model slug: JSON in the environment.
Table = Annotated[dict[str, T], BeforeValidator(_table), AllowedValues("a table by model slug")]
Seconds = Annotated[float, Unit("seconds")]
Bytes = Annotated[int, Unit("bytes")]
#: Empty, which is None, where another setting holds.
SecondsIfSet = Annotated[
    float | None,
    BeforeValidator(lambda seconds: None if seconds == "" else seconds),
    AllowedValues("a number of seconds, 0 or more"),
]
#: A file or folder; empty, as compose files write unset values, is None, not the current folder.
Place = Annotated[Path | None, BeforeValidator(lambda path: path or None), AllowedValues("a path")]


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


M = TypeVar("M", AllowedValues, Env, FromFile, Unit)


def marked(info: FieldInfo, kind: type[M]) -> M | None:
    return next((one for one in reversed(info.metadata) if isinstance(one, kind)), None)


def allowed_values(info: FieldInfo) -> str:
    """What a field may be, in words: by its type and bounds, unless its type has words of its own."""
    if words := marked(info, AllowedValues):
        return words.words
    if info.annotation is bool:
        return "true or false"
    if choices := get_args(info.annotation):
        return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    if info.annotation in (int, float):
        unit = f" of {found.name}" if (found := marked(info, Unit)) else ""
        return ("a whole number" if info.annotation is int else "a number") + unit + _bounds(info)
    return "a text, not empty" if any(getattr(one, "min_length", 0) for one in info.metadata) else "a text"


def _bounds(info: FieldInfo) -> str:
    ends = {end: getattr(one, end) for one in info.metadata for end in ("gt", "ge", "le") if hasattr(one, end)}
    below, above, max_ = (ends.get(end) for end in ("gt", "ge", "le"))
    if max_ is None:
        return f" above {below:g}" if below is not None else f", {above:g} or more"
    return f" above {below:g}, up to {max_:g}" if below is not None else f" from {above} to {max_}"


@cache
def comments(model: type[BaseModel]) -> dict[str, str]:
    """By field of a class, the `#:` lines above it as one."""
    found: dict[str, str] = {}
    lines: list[str] = []
    for line in map(str.strip, getsource(model).splitlines()):
        if line.startswith("#: "):
            lines.append(line.removeprefix("#: "))
        elif lines:
            found[line.partition(":")[0]] = " ".join(lines)
            lines = []
    return found
