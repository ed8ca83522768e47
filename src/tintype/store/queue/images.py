"""Finished images that are still there: found in their requests' results, with what their accounts said of them.

An image has no row of its own while it is like all others: it is there for some time after its request's end, unless
all images of its age were removed to make room. A row of `image_marks` is an exception: kept, or deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, delete, func, or_, select, tuple_, union_all

from tintype.core import Output, Result
from tintype.errors import BadRequest, ImageUnknown, RequestUnknown
from tintype.settings.groups import RetentionSettings
from tintype.store.accounts.uploads import MIN_COUNTED
from tintype.store.db import facts, measurements
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.records import Status
from tintype.store.db.tables import assets, history, image_marks, outputs, previews, requests
from tintype.store.queue.history import NAMES, Past

marks = image_marks.c
#: An account's own requests that are searched, from the newest, for images whose request wasn't noted: those of the
#: last second, and those of a version before 0026.
SEARCHED = 10_000
#: More images than any request has.
ALL = 1_000_000
UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
#: Seconds for which an image that is no longer kept is there at least: it may have been a slip.
GRACE = 86_400.0
KEPT_NOW = and_(marks.kept, or_(marks.until.is_(None), marks.until > now()))


@dataclass(frozen=True, slots=True)
class OwnImage:
    """A finished image of an account, which is there."""

    request: Past
    result: Result
    #: Which of the request's images it is, from 0.
    index: int
    #: Whether its account wants it kept; until when it is there at least, unless the server needs room, in unix
    #: seconds, or None for no end.
    kept: bool
    until: float | None

    @property
    def output(self) -> Output:
        """Its file."""
        return self.result.outputs[self.index]


class Place(NamedTuple):
    """Where a page of images ends: its last request, and the number of that one's images before the end."""

    submitted_at: float
    id: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFilter:
    """Some of an account's images: times in unix seconds, the last one excluded."""

    account_id: str
    since: float | None = None
    before: float | None = None
    #: Model and request, each if not empty.
    slug: str = ""
    request_id: str = ""
    #: In the prompt, all of them, whatever their case.
    words: tuple[str, ...] = ()
    kept: bool | None = None

    def conditions(self, table: Table) -> Iterator[ColumnElement[bool]]:
        """In SQL, of the requests."""
        yield table.c.account_id == self.account_id
        yield table.c.status == Status.COMPLETED
        if self.since is not None:
            yield table.c.submitted_at >= self.since
        if self.before is not None:
            yield table.c.submitted_at < self.before
        if self.slug:
            yield table.c.slug == self.slug
        if self.request_id:
            yield table.c.id == self.request_id
        for word in self.words:
            yield table.c.params["prompt"].as_string().icontains(word, autoescape=True)


class Horizon(NamedTuple):
    """Which images are there, as far as no mark says otherwise; unix seconds."""

    moment: float
    #: Those whose request ended after this.
    ended_after: float
    #: Of those before this, the cleanup of an earlier version has removed the files.
    begun: float


class Found(NamedTuple):
    """What is known of some images of an account, those that are gone included."""

    horizon: Horizon
    #: The images' requests by their ids, and marks by the images' names.
    requests: Mapping[str, Past]
    marks: Mapping[str, Any]


class Images:
    """The images of accounts, and what becomes of them.

    One account may keep images of half of the budget, and all of them together of all of it; 0 is no limit.
    """

    def __init__(self, db: Database, retention: RetentionSettings) -> None:
        self._db = db
        self._ttl = retention.image_ttl
        self._history_ttl = retention.history_ttl
        #: Of images that were made before this database's first cleanup by this version.
        self._ttl_before = retention.output_ttl or retention.record_ttl
        self._room, self._room_of_all = retention.images_budget // 2 or inf, retention.images_budget or inf

    # For their account

    def page(self, which: ImageFilter, size: int, after: Place | None = None) -> tuple[list[OwnImage], Place | None]:
        """The newest images, or those after a place, up to `size`; and where they end, if there may be more."""
        limit = size + 2  # one has no further image, if the page before ended with its last one; one is the next page's
        with self._db.read() as view:
            known = self._known(view, _page(which, self._horizon(view), limit, after))
        passed = {after.id: after.images} if after else {}
        found = [
            one
            for past in known.requests.values()
            for one in self._images(past, known)
            if one.index >= passed.get(past.id, 0) and which.kept in (None, one.kept)
        ]
        if len(found) > size:
            last = found[size - 1]
            return found[:size], Place(last.request.submitted_at, last.request.id, last.index + 1)
        if len(known.requests) < limit:
            return found, None
        end = [*known.requests.values()][-1]
        return found, Place(end.submitted_at, end.id, ALL)

    def find(self, account_id: str, names: Sequence[str]) -> list[OwnImage]:
        """The account's images of these names, in this order, each once; raises ImageUnknown."""
        with self._db.read() as view:
            return self._find(view, account_id, _requests_of(view, account_id, names))

    def keep(self, account_id: str, names: Sequence[str], *, kept: bool) -> list[OwnImage]:
        """Keep the images until their account says otherwise, or no longer; the images after that, as `find` does.

        What is no longer kept is there for GRACE seconds at least. Raises ImageUnknown, and BadRequest where the
        account, or all of them together, would keep too much; then nothing changes.
        """
        with self._db.read() as view:  # not under the lock: it may take long
            of_name = _requests_of(view, account_id, names)
        with self._db.write() as tx:
            changed = [one for one in self._find(tx, account_id, of_name) if one.kept != kept]
            if kept:
                self._check_room(tx, account_id, changed)
                moment = read_clock(tx)
                _mark(tx, [_row(one, moment, kept=True) for one in changed])
            else:
                self._release(tx, changed)
            return self._find(tx, account_id, of_name)

    def own(self, account_id: str, names: Sequence[str]) -> list[str]:
        """The names, each once, if all of them are images of the account's, there or not; raises ImageUnknown."""
        with self._db.read() as view:
            of_name = _requests_of(view, account_id, names)
            known = self._known(view, _of_any_age(of_name.values()), account_id)
        for name, id in of_name.items():
            _index(known.requests.get(id), name)
        return [*of_name]

    def deleted(self, account_id: str, names: Sequence[str]) -> None:
        """Note that the account's images of these names, whose files are removed, were deleted; and forget previews."""
        with self._db.read() as view:
            of_name = _requests_of(view, account_id, names)
        with self._db.write() as tx:
            known = self._known(tx, _of_any_age(of_name.values()), account_id)
            rows, drawn = list[dict[str, Any]](), list[tuple[str, int]]()
            for name, id in of_name.items():
                past = known.requests.get(id)
                index = _index(past, name)
                if past is None or (name in known.marks and not known.marks[name].kept):
                    continue
                rows.append(_row(OwnImage(past, _result(past), index, False, None), known.horizon.moment, kept=False))
                drawn.append((id, index))
            tx.execute(delete(previews).where(tuple_(previews.c.request_id, previews.c.picture).in_(drawn)))
            _mark(tx, rows)

    # For readers of files

    def present(self, names: Iterable[str]) -> frozenset[str]:
        """Those of these uploads and finished images that should still be there, by what is noted of them."""
        wanted = [*names]
        if not wanted:
            return frozenset()
        gone = select(marks.name).where(~marks.kept)
        known = (
            select(assets.c.name).where(assets.c.name.in_(wanted), assets.c.expires_at > now()),
            select(outputs.c.name).where(
                outputs.c.name.in_(wanted), outputs.c.expires_at > now(), outputs.c.name.not_in(gone)
            ),
            select(marks.name).where(marks.name.in_(wanted), KEPT_NOW),
        )
        with self._db.read() as view:
            return frozenset(view.scalars(union_all(*known)))

    def there(self, pasts: Iterable[Past]) -> dict[str, list[OwnImage]]:
        """Of these requests, by their ids, the images that are there."""
        by_id = {past.id: past for past in pasts}
        with self._db.read() as view:
            known = Found(self._horizon(view), by_id, _marks(view, by_id))
        return {id: self._images(past, known) for id, past in by_id.items()}

    def keeps(self, name: str) -> bool:
        """Whether its account keeps this image."""
        with self._db.read() as view:
            return view.scalar(select(marks.name).where(marks.name == name, KEPT_NOW)) is not None

    def fate(self, name: str) -> str:
        """What has become of a finished image that isn't there, in words after its name; empty where it isn't known."""
        of_account = select(marks.request_id).where(marks.name == name)
        noted = select(outputs.c.request_id).where(outputs.c.name == name)
        with self._db.read() as view:
            id = view.scalar(of_account) or view.scalar(noted)
            known = self._known(view, _of_any_age([id])) if id else None
        past = known.requests.get(id or "") if known else None
        return self._fate(name, past, known) if past and known else ""

    # For the cleanup

    def claim_listing(self, interval: float) -> bool:
        """Whether the last list of all images is this many seconds old; then the caller's is the next one."""
        with self._db.read() as view:
            if not self._listing_due(view, interval):
                return False
        with self._db.write() as tx:
            if not self._listing_due(tx, interval):
                return False
            self._note(tx)
            return True

    def make_room(self, before: float) -> None:
        """From now on, images of requests that ended up to this moment are gone unless they are kept.

        To be called before their files are removed: who keeps one after that is told.
        """
        with self._db.write() as tx:
            self._note(tx, before)

    def kept_names(self) -> frozenset[str]:
        """The names of all images that accounts keep."""
        with self._db.read() as view:
            return frozenset(view.scalars(select(marks.name).where(KEPT_NOW)))

    def expire(self) -> None:
        """Forget what was said of images that no call can name: those no longer kept, and deleted ones."""
        request = [select(table.c.id).where(table.c.id == marks.request_id).exists() for table in (requests, history)]
        with self._db.write() as tx:
            tx.execute(delete(image_marks).where(marks.kept, marks.until <= now()))
            old = (~marks.kept, marks.at < now() - self._history_ttl)  # nearly all of their requests are gone too
            tx.execute(delete(image_marks).where(*old, ~or_(*request)))

    def _listing_due(self, view: Connection, interval: float) -> bool:
        known = facts.read(view, facts.IMAGES)
        # A moment in the future is a clock's that was set back.
        return known is None or not 0 <= read_clock(view) - known["listed_at"] < interval

    def _note(self, tx: Connection, before: float = 0.0) -> None:
        """All images are listed now; of requests that ended up to `before`, none is there unless it is kept."""
        known, (moment, _, begun) = facts.read(tx, facts.IMAGES) or {}, self._horizon(tx)
        since = min(moment, max(before, known.get("since", begun)))
        facts.write(tx, facts.IMAGES, since=since, begun=begun, listed_at=moment)

    def _horizon(self, view: Connection) -> Horizon:
        moment, known = read_clock(view), facts.read(view, facts.IMAGES) or {}
        begun = known.get("begun", moment - self._ttl_before)
        # Of a clock that was set back, the moment may be in the future.
        since = min(moment, known.get("since", begun))
        return Horizon(moment, max(moment - self._ttl, since), begun)

    def _known(self, view: Connection, wanted: Any, account_id: str = "") -> Found:
        """What is known of the requests that a statement finds, if they are this account's."""
        rows = view.execute(wanted)
        found = {row.id: Past.of(row) for row in rows if account_id in ("", row.account_id)}
        return Found(self._horizon(view), found, _marks(view, found))

    def _find(self, view: Connection, account_id: str, of_name: Mapping[str, str]) -> list[OwnImage]:
        known = self._known(view, _of_any_age(of_name.values()), account_id)
        return [self._named(name, known.requests.get(id), known) for name, id in of_name.items()]

    def _named(self, name: str, past: Past | None, known: Found) -> OwnImage:
        index = _index(past, name)
        image = self._image(past, index, known) if past else None
        if image is None:
            raise ImageUnknown.of(name, self._fate(name, past, known) if past else "")
        return image

    def _images(self, past: Past, known: Found) -> list[OwnImage]:
        """The images of a request that are there."""
        number = len(past.result.outputs) if past.result else 0
        return [image for index in range(number) if (image := self._image(past, index, known))]

    def _image(self, past: Past, index: int, known: Found) -> OwnImage | None:
        result, ended = _result(past), past.ended_at or 0.0
        mark = known.marks.get(result.outputs[index].name)
        until = ended + self._ttl if ended > known.horizon.ended_after else known.horizon.moment
        if mark is not None and not mark.kept:
            return None
        if mark is not None:
            until = inf if mark.until is None else max(until, mark.until)
        kept = mark is not None and mark.until is None
        image = OwnImage(past, result, index, kept, None if until == inf else until)
        return image if until > known.horizon.moment else None

    def _release(self, tx: Connection, images: Sequence[OwnImage]) -> None:
        """No longer keep these; those that would be gone then, for GRACE seconds."""
        moment, ended_after, _ = self._horizon(tx)
        unmarked, rows = list[str](), list[dict[str, Any]]()
        for one in images:
            ended = one.request.ended_at or 0.0
            if ended > ended_after and ended + self._ttl > moment + GRACE:
                unmarked.append(one.output.name)
            else:
                rows.append(_row(one, moment, kept=True, until=moment + GRACE))
        tx.execute(delete(image_marks).where(marks.name.in_(unmarked)))
        _mark(tx, rows)

    def _fate(self, name: str, past: Past, known: Found) -> str:
        """Why an image isn't there."""
        ended, mark = past.ended_at or 0.0, known.marks.get(name)
        if mark is not None and not mark.kept:
            return f"was deleted by its account on {_day(mark.at)}"
        if ended <= known.horizon.begun:
            return "expired: when it was made, images were kept for a shorter time here"
        if ended + self._ttl > known.horizon.moment:
            return "was removed to make room for newer ones" if ended <= known.horizon.ended_after else ""
        return f"expired on {_day(ended + self._ttl)}: images are kept for {self._ttl / 86_400:.3g} days here"

    def _check_room(self, tx: Connection, account_id: str, more: Sequence[OwnImage]) -> None:
        wanted = sum(_counted(one.output) for one in more)
        kept = select(func.coalesce(func.sum(marks.size), 0)).where(marks.kept)
        mine = kept.where(marks.account_id == account_id)
        for sum_of, room, whose in (
            (mine, self._room, "one account may keep"),
            (kept, self._room_of_all, "all accounts together may keep"),
        ):
            taken = tx.scalar(sum_of) or 0 if room < inf else 0
            if wanted and taken + wanted > room:
                raise BadRequest(
                    f"{_bytes(wanted)} more would be kept, and {_bytes(taken)} are: {whose}"
                    f" {_bytes(room)} of images here, each counted as {_bytes(MIN_COUNTED)} at least. Delete some"
                )


def _page(which: ImageFilter, horizon: Horizon, limit: int, after: Place | None) -> Select[Any]:
    def rows(table: Table) -> Select[Any]:
        wanted = select(*(table.c[name] for name in NAMES)).where(
            *which.conditions(table), _there(table, which, horizon)
        )
        if after is not None:
            wanted = wanted.where(
                table.c.submitted_at <= after.submitted_at,
                or_(table.c.submitted_at < after.submitted_at, table.c.id <= after.id),
            )
        newest = wanted.order_by(table.c.submitted_at.desc(), table.c.id.desc()).limit(limit).subquery()
        return select(newest)

    both = union_all(rows(requests), rows(history)).subquery()
    return select(both).order_by(both.c.submitted_at.desc(), both.c.id.desc()).limit(limit)


def _there(table: Table, which: ImageFilter, horizon: Horizon) -> ColumnElement[bool]:
    """Requests that have an image that is there; of those with all of them deleted, none is read."""
    if which.kept:
        own = marks.account_id == which.account_id
        return table.c.id.in_(select(marks.request_id).where(own, marks.kept, marks.until.is_(None)))
    gone = select(func.count()).where(marks.request_id == table.c.id, ~marks.kept).scalar_subquery()
    lasts = and_(table.c.ended_at > horizon.ended_after, gone < func.json_array_length(table.c.result["pictures"]))
    kept = (marks.request_id == table.c.id, marks.kept, or_(marks.until.is_(None), marks.until > horizon.moment))
    return or_(lasts, select(marks.name).where(*kept).exists())


def _marks(view: Connection, ids: Iterable[str]) -> dict[str, Any]:
    """What was said of the images of these requests, by name."""
    return {row.name: row for row in view.execute(select(image_marks).where(marks.request_id.in_([*ids])))}


def _of_any_age(ids: Iterable[str]) -> Any:
    """Requests by their ids alone: SQLite would read all of an account that was named too."""
    wanted = [*ids]
    rows = (select(*(table.c[name] for name in NAMES)).where(table.c.id.in_(wanted)) for table in (requests, history))
    return union_all(*rows)


def _mark(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    fresh = measurements.INSERT[tx.dialect.name](image_marks)
    changed = {name: fresh.excluded[name] for name in ("kept", "at", "until")}
    tx.execute(fresh.on_conflict_do_update(index_elements=[marks.name], set_=changed), rows)


def _row(image: OwnImage, moment: float, *, kept: bool, until: float | None = None) -> dict[str, Any]:
    own = {"name": image.output.name, "request_id": image.request.id, "account_id": image.request.account_id}
    return {**own, "kept": kept, "size": _counted(image.output), "at": moment, "until": until}


def _counted(output: Output) -> int:
    return max(MIN_COUNTED, output.size)


def _result(past: Past) -> Result:
    if past.result is None:
        raise RequestUnknown(past.id)
    return past.result


def _index(past: Past | None, name: str) -> int:
    """Which of a request's images has this name; raises ImageUnknown."""
    names = [one.name for one in past.result.outputs] if past and past.result else []
    if name not in names:
        raise ImageUnknown.of(name)
    return names.index(name)


def _requests_of(view: Connection, account_id: str, names: Sequence[str]) -> dict[str, str]:
    """By name, each once, in this order: the ids of the requests of finished images, or an empty text.

    By what is noted, else the account's own are searched.
    """
    noted = union_all(
        select(marks.name, marks.request_id).where(marks.name.in_(names)),
        select(outputs.c.name, outputs.c.request_id).where(
            outputs.c.name.in_(names), outputs.c.request_id.is_not(None)
        ),
    )
    found: dict[str, str] = dict.fromkeys(names, "")
    found |= {row.name: row.request_id for row in view.execute(noted)}
    missing = {name for name, id in found.items() if not id}
    for id, result in view.execute(_latest(account_id)) if missing else ():
        for one in result.get("pictures", ()):
            if one["name"] in missing:
                found[one["name"]] = id
                missing.discard(one["name"])
        if not missing:
            break
    return found


def _latest(account_id: str) -> Select[Any]:
    def rows(table: Table) -> Select[Any]:
        own = select(table.c.id, table.c.result, table.c.submitted_at)
        completed = own.where(table.c.account_id == account_id, table.c.status == Status.COMPLETED)
        return select(completed.order_by(table.c.submitted_at.desc()).limit(SEARCHED).subquery())

    both = union_all(rows(requests), rows(history)).subquery()
    return select(both.c.id, both.c.result).order_by(both.c.submitted_at.desc()).limit(SEARCHED)


def _bytes(number: float) -> str:
    """In the largest unit that it has one of."""
    unit, size = next(((unit, size) for unit, size in UNITS if number >= size), ("bytes", 1))
    return f"{number / size:.4g} {unit}"


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d at %H:%M UTC")
