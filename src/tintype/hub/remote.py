"""Client of the Hugging Face hub or a mirror: a repository's listing and its files' bytes; refusals in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx2

from tintype.errors import PullFailed
from tintype.hub.folder import File

COMMIT = re.compile(r"[0-9a-f]{40}")
DIGESTS = re.compile(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}")
#: Seconds, to connect and between two chunks of a body.
CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 30.0
TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Listing:
    """All files of a repository at one commit."""

    commit: str
    files: tuple[File, ...]


class Hub:
    """One hub, with or without an account's token; must be closed."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        headers = {"user-agent": "tintype"} | ({"authorization": f"Bearer {token}"} if token else {})
        timeout = httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
        # Files are redirected to other hosts, which aren't sent the token.
        self._client = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=True)

    def close(self) -> None:
        self._client.close()

    def listing(self, repository: str, revision: str) -> Listing:
        """The listing at a revision; raises PullFailed."""
        url = f"{self.endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}"
        try:
            response = self._client.get(url, params={"blobs": "true"})
            self._check(response, repository, revision)
        except httpx2.TransportError as error:
            raise self.unreachable(error) from error
        try:
            content = response.json()
            found = Listing(_commit(content["sha"]), tuple(_file(one) for one in content["siblings"]))
        except (ValueError, KeyError, TypeError) as error:
            raise PullFailed(f"{self.endpoint} is not a hub; name the hub in HF_ENDPOINT") from error
        return found

    @contextmanager
    def stream(self, repository: str, commit: str, path: str, begin: int) -> Iterator[httpx2.Response]:
        """A file's bytes from `begin` on, or all of them where the answer is no 206; raises PullFailed.

        A broken connection or a busy hub raises httpx2.TransportError: the download can be resumed.
        """
        url = f"{self.endpoint}/{repository}/resolve/{commit}/{quote(path)}"
        # identity: the length and ranges of a compressed answer are not the file's.
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={begin}-"} if begin else {})
        with self._client.stream("GET", url, headers=headers) as response:
            if not response.is_success:
                response.read()
            self._check(response, repository, commit)
            yield response

    def _check(self, response: httpx2.Response, repository: str, revision: str) -> None:
        """Raise PullFailed for a refusal; TransportError for the hub's own errors, which are often temporary."""
        if response.is_success:
            return
        if response.is_server_error:
            raise httpx2.RemoteProtocolError(f"it answered {response.status_code}")
        code = response.headers.get("x-error-code", "")
        raise PullFailed(self._refusal(response.status_code, code, repository, revision))

    def _refusal(self, status: int, code: str, repository: str, revision: str) -> str:
        """The hub's error in words, with what to do (its codes are in `X-Error-Code`)."""
        page = f"{self.endpoint}/{repository}"
        if code == "GatedRepo":
            accept = f"{repository} is gated: sign in at {page} and accept its licence"
            return f"{accept}; {self._token_hint()}"
        if code == "RevisionNotFound":
            return f"{repository} has no revision {revision}"
        if code == "EntryNotFound":
            return f"{repository} no longer has a file that it listed; try again"
        if code == "RepoNotFound" or status in (401, 403, 404):
            missing = f"repository {repository} not found at {self.endpoint}"
            return f"{missing}: check its name, and, if it is private or gated, that {self._token_hint()}"
        if status == 429:
            return f"{self.endpoint} answered 429, too many requests; wait some minutes, and pull again"
        return f"{self.endpoint} answered {status} for {repository} at {revision}"

    def _token_hint(self) -> str:
        if self.token:
            return "the token is valid, may read gated repositories, and is of the account that was accepted"
        return f"make a token that may read at {TOKENS}, and give it in HF_TOKEN or with --token-file"

    def unreachable(self, error: Exception) -> PullFailed:
        """The error for a connection that can't be made, or broke too often."""
        cause = str(error) or type(error).__name__
        help = "name a mirror in HF_ENDPOINT, or local files with --from"
        return PullFailed(f"{self.endpoint} can't be reached: {cause}; {help}")


def _commit(name: str) -> str:
    """A commit's id, which will name a folder; raises ValueError for anything else."""
    if not COMMIT.fullmatch(name):
        raise ValueError(name)
    return name


def _file(entry: dict[str, Any]) -> File:
    """A file of a listing; raises ValueError for a path that leads out of its folder."""
    path = PurePosixPath(entry["rfilename"])
    lfs = entry.get("lfs")
    digest = f"sha256:{lfs['sha256']}" if lfs else f"git:{entry['blobId']}"
    if path.is_absolute() or ".." in path.parts or "\\" in str(path) or not DIGESTS.fullmatch(digest):
        raise ValueError(str(path))
    return File(str(path), int(lfs["size"] if lfs else entry["size"]), digest)
