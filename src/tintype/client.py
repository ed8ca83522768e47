"""A small client: run, submit, wait, with progress.

with Client("http://127.0.0.1:8000", key="SG_…") as client:
    result = client.run("sd1.5-img2img", prompt="a fox", image="/sd-img2img-input.jpeg")
    print(result.output)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx2

from tintype.errors import TintypeError

#: Called with a request's status body after each poll.
OnProgress = Callable[[dict[str, Any]], None]
ENDED = ("COMPLETED", "FAILED")


class ServerRefused(TintypeError):
    """The server answered with an error; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestFailed(TintypeError):
    """The request ended FAILED."""


@dataclass(frozen=True)
class Result:
    """A completed request."""

    request_id: str
    #: URL of the first image, or its base64.
    output: str
    seed: int
    #: Seconds, and dollars under `cost`.
    metrics: dict[str, float]
    #: The whole answer.
    body: dict[str, Any]


class Client:
    """Talks to one server with one key; raises ServerRefused for any answer that is an error."""

    def __init__(self, base_url: str, key: str, timeout: float = 60.0) -> None:
        self._http = httpx2.Client(base_url=base_url, headers={"x-api-key": key}, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def run(self, slug: str, *, progress: OnProgress | None = None, **params: Any) -> Result:
        """Submit and wait; raises RequestFailed."""
        return self.wait(self.submit(slug, **params), progress=progress)

    def submit(self, slug: str, **params: Any) -> str:
        """Put a request into the queue; returns its id."""
        return str(self._call("POST", f"/v2/{slug}", json=params)["request_id"])

    def status(self, request_id: str) -> dict[str, Any]:
        """The request's state, with progress, step and steps while it runs."""
        return self._call("GET", f"/v2/requests/{request_id}/status")

    def wait(
        self, request_id: str, *, progress: OnProgress | None = None, timeout: float = 600.0, interval: float = 0.2
    ) -> Result:
        """Poll until the request has ended; raises RequestFailed, and TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (status := self.status(request_id))["status"] not in ENDED:
            if progress:
                progress(status)
            if time.monotonic() > deadline:
                raise TimeoutError(f"request {request_id} did not end within {timeout:g} s")
            time.sleep(interval)
        if progress:
            progress(status)
        return self._result(request_id, status)

    def stream(self, request_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The request's events as they happen, previews included, until it has ended: names with their data."""
        with self._http.stream("GET", f"/v2/requests/{request_id}/events") as answer:
            if answer.is_error:
                answer.read()
                self._body(answer)
            event = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, json.loads(value)

    def cancel(self, request_id: str) -> None:
        """Cancel a request that hasn't ended."""
        self._call("DELETE", f"/v2/requests/{request_id}")

    def download(self, url: str) -> bytes:
        """The bytes of an image that a result names."""
        return self._http.get(url).raise_for_status().content

    def credits(self) -> float:
        """Dollars left."""
        return float(self._call("GET", "/v1/get-user-credits")["credits"])

    def models(self) -> list[dict[str, Any]]:
        """The models, with prices and parameters."""
        return list(self._call("GET", "/v1/models")["models"])

    def _result(self, request_id: str, status: dict[str, Any]) -> Result:
        if status["status"] == "FAILED":
            raise RequestFailed(status["error"])
        body = self._call("GET", f"/v2/requests/{request_id}")
        return Result(request_id, body["output"], int(body["seed"]), body["metrics"], body)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return self._body(self._http.request(method, path, **options))

    def _body(self, answer: httpx2.Response) -> dict[str, Any]:
        try:
            body = dict(answer.json())
        except ValueError as error:
            raise ServerRefused(answer.status_code, "the server's answer is not JSON") from error
        if answer.is_error and body.get("status") != "FAILED":
            raise ServerRefused(answer.status_code, str(body.get("error")))
        return body
