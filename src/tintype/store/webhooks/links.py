"""Where a request and its files are on this server: one place for the web's answers and for webhooks."""

from __future__ import annotations

from typing import Any

from tintype.store.db.records import Request


def links(request: Request, base: str) -> dict[str, str]:
    """Where a request's state and result are; `base` is the server's address without a slash at the end."""
    own = f"{base}/v2/requests/{request.id}"
    return {"status_url": f"{own}/status", "response_url": own}


def file_url(picture: dict[str, Any], base: str) -> str:
    """A picture's address; `picture` is one of a result's."""
    return f"{base}/files/{picture['name']}"
