"""Input pictures that are kept here: each for as long as its request has not ended.

A picture that came in a request's body has a file of its own, which counts against its account and goes when the
request ends. A picture that this server kept already, an upload or an output, is referred to, and stays until then.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from tintype.errors import Forbidden, TooManyRequests
from tintype.store.db.records import Json, Request
from tintype.store.db.tables import inputs, outputs, requests

Size = tuple[int, int]
#: Seconds after which it makes sense to try again where an account's pictures take all the room that they may.
PATIENCE = 2.0


@dataclass(frozen=True)
class Input:
    """A request's input picture: its file, the bytes that this takes (0 for one that is referred to), its pixels."""

    name: str
    bytes: int
    size: Size


def admit(tx: Connection, request: Request, picture: Input, most: int) -> None:
    """Keep a new request's picture; of one account's together, those that came in bodies may take `most` bytes.

    Raises TooManyRequests, and Forbidden for a picture that alone takes more.
    """
    taken = _taken(tx, request.account_id) if picture.bytes else 0
    if taken + picture.bytes > most:
        words = f"The input pictures of an account's requests may take {most} bytes together until those end"
        if not taken:
            raise Forbidden(f"{words}; this one alone takes {picture.bytes}", reason="limit")
        raise TooManyRequests(f"{words}: {taken} are taken, and this one takes {picture.bytes}", PATIENCE)
    width, height = picture.size
    kept = {"name": picture.name, "size": picture.bytes, "width": width, "height": height}
    tx.execute(insert(inputs).values(request_id=request.id, account_id=request.account_id, **kept))


def let_go(tx: Connection, request_id: str) -> str | None:
    """A request has ended: the name of the file that nobody needs any more, if it had one for itself."""
    gone = delete(inputs).where(inputs.c.request_id == request_id).returning(inputs.c.name, inputs.c.size)
    row = tx.execute(gone).one_or_none()
    return row.name if row is not None and row.size else None


def forget(tx: Connection, which: ColumnElement[bool]) -> None:
    """Requests are about to be removed: let go what one has left that a worker of an older version ended."""
    tx.execute(delete(inputs).where(inputs.c.request_id.in_(select(requests.c.id).where(which))))


def needed(view: Connection) -> frozenset[str]:
    """The names of all files that requests which have not ended were told to read."""
    return frozenset(view.scalars(select(inputs.c.name)))


def size_of(view: Connection, request_id: str) -> Size | None:
    """Width and height in pixels of a request's picture; None where it has none here, or they were never noted."""
    row = view.execute(select(inputs.c.width, inputs.c.height).where(inputs.c.request_id == request_id)).one_or_none()
    return None if row is None or row.width is None else (row.width, row.height)


def note_outputs(tx: Connection, result: Json, expires_at: float) -> None:
    """Keep the sizes of a request's pictures, as far as it tells them: each may be the input of another one."""
    told = [picture for picture in result.get("pictures", []) if "width" in picture]
    made = [{name: picture[name] for name in ("name", "width", "height")} for picture in told]
    if made:
        tx.execute(insert(outputs), [picture | {"expires_at": expires_at} for picture in made])


def _taken(tx: Connection, account_id: str) -> int:
    mine = select(func.coalesce(func.sum(inputs.c.size), 0)).where(inputs.c.account_id == account_id)
    return int(tx.execute(mine).scalar_one())
