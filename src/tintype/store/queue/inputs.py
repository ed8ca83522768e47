"""Input images that are stored here, until their requests end.

An image that came in a request's body has a file of its own, which counts against its account's quota and is deleted
when the request ends. One that was stored here already, an upload or an output, is referred to, and stays until then.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from tintype.core import Result, Size
from tintype.errors import Forbidden, TooManyRequests
from tintype.store.db.records import Request
from tintype.store.db.tables import inputs, outputs, requests

#: Seconds after which it makes sense to retry where an account's quota is used up.
RETRY_AFTER = 2.0


@dataclass(frozen=True, slots=True)
class Input:
    """A request's input image: its file, the bytes that this takes (0 for one that is referred to), its pixels."""

    name: str
    bytes: int
    size: Size


def admit(tx: Connection, request: Request, image: Input, quota: int) -> None:
    """Note a new request's image; those of one account that came in bodies may take `quota` bytes together.

    Raises TooManyRequests, and Forbidden for an image that alone takes more.
    """
    mine = select(func.coalesce(func.sum(inputs.c.size), 0)).where(inputs.c.account_id == request.account_id)
    taken = int(tx.execute(mine).scalar_one()) if image.bytes else 0
    if taken + image.bytes > quota:
        words = f"The input pictures of an account's requests may take {quota} bytes together until those end"
        if not taken:
            raise Forbidden(f"{words}; this one alone takes {image.bytes}", reason="limit")
        raise TooManyRequests(f"{words}: {taken} are taken, and this one takes {image.bytes}", RETRY_AFTER)
    width, height = image.size
    row = {"name": image.name, "size": image.bytes, "width": width, "height": height}
    tx.execute(insert(inputs).values(request_id=request.id, account_id=request.account_id, **row))


def release(tx: Connection, request_id: str) -> str | None:
    """A request has ended: the name of its own file, if it had one, which is no longer needed."""
    gone = delete(inputs).where(inputs.c.request_id == request_id).returning(inputs.c.name, inputs.c.size)
    row = tx.execute(gone).one_or_none()
    return row.name if row is not None and row.size else None


def expire(tx: Connection, which: ColumnElement[bool]) -> None:
    """Requests are about to be removed: release what one has left that a worker of an older version ended."""
    tx.execute(delete(inputs).where(inputs.c.request_id.in_(select(requests.c.id).where(which))))


def needed(view: Connection) -> frozenset[str]:
    """The names of all files that requests which have not ended read."""
    return frozenset(view.scalars(select(inputs.c.name)))


def size_of(view: Connection, request_id: str) -> Size | None:
    """Width and height in pixels of a request's image; None where it has none here, or they were never noted."""
    row = view.execute(select(inputs.c.width, inputs.c.height).where(inputs.c.request_id == request_id)).one_or_none()
    return None if row is None or row.width is None else (row.width, row.height)


def note_outputs(tx: Connection, result: Result, expires_at: float) -> None:
    """Note the sizes of a request's images, as far as they are known: each may be the input of another request."""
    rows = [
        {"name": one.name, "width": one.width, "height": one.height, "expires_at": expires_at}
        for one in result.outputs
        if one.width
    ]
    if rows:
        tx.execute(insert(outputs), rows)
