"""The Hugging Face hub, or a mirror of it: what a repository has, and its files' bytes; refusals in plain words."""

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
#: Seconds for a connection, and between two chunks of a body.
CONNECT, SILENCE = 10.0, 30.0
TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    commit: str
    files: tuple[File, ...]


class Hub:
    """One hub, for one account or for nobody; to be closed."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.token = token
        headers = {"user-agent": "tintype"} | ({"authorization": f"Bearer {token}"} if token else {})
        timeout = httpx2.Timeout(SILENCE, connect=CONNECT)
        # Files are redirected to other hosts; the token isn't sent along to them.
        self._client = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=True)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def listing(self, repository: str, revision: str) -> Listing:
        """All files of a repository, as they were at a revision; raises PullFailed."""
        address = f"{self.endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}"
        try:
            response = self._client.get(address, params={"blobs": "true"})
            self._check(response, repository, revision)
        except httpx2.TransportError as error:
            raise self.unreachable(error) from error
        try:
            said = response.json()
            found = Listing(_commit(said["sha"]), tuple(_file(one) for one in said["siblings"]))
        except (ValueError, KeyError, TypeError) as error:
            raise PullFailed(f"{self.endpoint} answers, but not as a hub does; HF_ENDPOINT says where it is") from error
        return found

    @contextmanager
    def reading(self, repository: str, commit: str, path: str, begin: int) -> Iterator[httpx2.Response]:
        """A file's bytes from one on, or from the first where the answer is no 206; raises PullFailed.

        A connection that breaks, or a hub that is busy, raises httpx2.TransportError: it can be taken up again.
        """
        address = f"{self.endpoint}/{repository}/resolve/{commit}/{quote(path)}"
        # identity: of a compressed answer neither the length nor a part of it would be the file's.
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={begin}-"} if begin else {})
        with self._client.stream("GET", address, headers=headers) as response:
            if not response.is_success:
                response.read()
            self._check(response, repository, commit)
            yield response

    def _check(self, response: httpx2.Response, repository: str, revision: str) -> None:
        """Raise PullFailed for a refusal; TransportError for what is the hub's own fault, and may be over soon."""
        if response.is_success:
            return
        if response.is_server_error:
            raise httpx2.RemoteProtocolError(f"it answered {response.status_code}")
        code = response.headers.get("x-error-code", "")
        raise PullFailed(self._refusal(response.status_code, code, repository, revision))

    def _refusal(self, status: int, code: str, repository: str, revision: str) -> str:
        """What an error of the hub means for somebody who wants weights (its codes are in `X-Error-Code`)."""
        page = f"{self.endpoint}/{repository}"
        if code == "GatedRepo":
            accept = f"{repository} is gated: sign in at {page} and accept its licence"
            return f"{accept}; {self._token_hint()}"
        if code == "RevisionNotFound":
            return f"{repository} has no revision {revision}"
        if code == "EntryNotFound":
            return f"{repository} no longer has a file that it listed; try again"
        if code == "RepoNotFound" or status in (401, 403, 404):
            seen = f"no repository {repository} is to be seen at {self.endpoint}"
            return f"{seen}: check its name, and, if it is private or gated, that {self._token_hint()}"
        if status == 429:
            return f"{self.endpoint} answered 429, too many requests; wait some minutes, and pull again"
        return f"{self.endpoint} answered {status} for {repository} at {revision}"

    def _token_hint(self) -> str:
        if self.token:
            return "the token is valid, may read gated repositories, and is of the account that was accepted"
        return f"make a token that may read at {TOKENS}, and give it in HF_TOKEN or with --token-file"

    def unreachable(self, error: Exception) -> PullFailed:
        """For a connection that isn't made, or broke too often."""
        cause = str(error) or type(error).__name__
        help = "a mirror can be named in HF_ENDPOINT, and files that are here already with --from"
        return PullFailed(f"{self.endpoint} can't be reached: {cause}; {help}")


def _commit(name: str) -> str:
    """A commit's name, which is to name a folder; raises ValueError for anything else."""
    if not COMMIT.fullmatch(name):
        raise ValueError(name)
    return name


def _file(said: dict[str, Any]) -> File:
    """A file of a listing; raises ValueError for a path that leads out of its folder."""
    path = PurePosixPath(said["rfilename"])
    large = said.get("lfs")
    digest = f"sha256:{large['sha256']}" if large else f"git:{said['blobId']}"
    if path.is_absolute() or ".." in path.parts or "\\" in str(path) or not DIGESTS.fullmatch(digest):
        raise ValueError(str(path))
    return File(str(path), int(large["size"] if large else said["size"]), digest)
