"""The vendor's own Python package, redirected to one server: its code has fixed hosts for some calls of an account.

It is no dependency of tintype: the extra `demo` installs it (docs/install.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from segmind import SegmindClient


class RedirectingTransport(httpx.BaseTransport):
    """Sends requests for any host to one server; paths, headers and bodies stay as they are."""

    def __init__(self, address: str) -> None:
        self._url = httpx.URL(address)
        self._inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        request.url = request.url.copy_with(scheme=self._url.scheme, host=self._url.host, port=self._url.port)
        request.headers["host"] = self._url.netloc.decode()
        return self._inner.handle_request(request)

    def close(self) -> None:
        """See httpx."""
        self._inner.close()


@contextmanager
def segmind_client(address: str, key: str, timeout: float = 600.0) -> Iterator[SegmindClient]:
    """The package's client whose every call goes to this server (`http://host:port`), closed after the block."""
    client = SegmindClient(api_key=key, base_url=f"{address.rstrip('/')}/v1", timeout=timeout)
    client._client.close()
    headers, base = client._client.headers, client.base_url
    with httpx.Client(headers=headers, base_url=base, timeout=timeout, transport=RedirectingTransport(address)) as http:
        client._client = http
        yield client
