"""What docs/api.md says in figures, names and statuses is what the code has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tintype.catalog.models import MODELS
from tintype.catalog.spec import MAX_TEXT
from tintype.errors import TintypeError
from tintype.media.provenance.verify import MAX_PIXELS
from tintype.settings import Settings
from tintype.store.accounts.uploads import MIN_COUNTED
from tintype.store.webhooks.outbox import PER_ACCOUNT, PER_RECEIVER, Backoff
from tintype.store.webhooks.subscriptions import MAX_SUBSCRIPTIONS
from tintype.web import verifier
from tintype.web.account.history import MAX_HISTORY_DAYS
from tintype.web.account.images import MAX_IMAGES
from tintype.web.account.webhooks import MAX_URL
from tintype.web.app import CORS, OF_LIBRARIES
from tintype.web.forms import SMALL
from tintype.web.generate.submit import IDEMPOTENCY_KEY, MAX_CANCEL_AFTER
from tintype.web.generate.uploads import MAX_FILES
from tintype.web.query import MAX_ROWS
from tintype.web.runtime import ACCOUNT_DOWNLOADS

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text("utf-8")
UNITS = {
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "s": 1, "h": 3600, "day": 86_400, "days": 86_400,
    "%": 0.01, "characters": 1, "": 1,
}  # fmt: skip
#: Rows of the limits without a setting, by how they begin.
CONSTANTS = {
    "a body without": SMALL,
    "a prompt": MAX_TEXT,
    "images of one upload call": MAX_FILES,
    "`Cancel-After`": MAX_CANCEL_AFTER,
    "an `Idempotency-Key`": 255,
    "webhooks of one account": MAX_SUBSCRIPTIONS,
    "a webhook's address": MAX_URL,
    "rows of a page": MAX_ROWS,
    "images of a page": MAX_IMAGES,
    "downloads of several images": ACCOUNT_DOWNLOADS,
    "images that one caller without a key": verifier.MAX_PER_CALLER,
    "the same of all callers": verifier.MAX_IMAGES,
    "pixels of an image that is verified": MAX_PIXELS,
    "seconds for such an image": verifier.BODY_TIMEOUT,
    "bytes of the images that one account keeps": Settings().retention.images_budget // 2,
    "days of a window": MAX_HISTORY_DAYS,
}


def section(heading: str) -> str:
    return re.split(r"^## ", PAGE.split(f"\n## {heading}\n")[1], flags=re.M)[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in a text, their heads left out."""
    for body in re.findall(r"^\|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.M):
        for row in body.splitlines():
            yield [cell.strip() for cell in row.strip("|").split("|")]


def amount(text: str) -> float:
    """The number that `32 MiB`, `none` or `10,000` is."""
    if text == "none":
        return 0
    number, unit = re.fullmatch(r"([\d,.]+) ?(\S*)", text).groups()
    return float(number.replace(",", "")) * UNITS[unit]


def default(name: str) -> float:
    return float(Settings().get(name.removeprefix("TINTYPE_").lower()))


def test_every_limit_is_the_codes() -> None:
    limits = [*rows(section("Limits"))]
    assert len(limits) > 25
    for what, most, _, setting in limits:
        found = [limit for begins, limit in CONSTANTS.items() if what.startswith(begins)]
        assert amount(most) == pytest.approx(default(setting.strip("`")) if setting else found[0]), what
    assert IDEMPOTENCY_KEY.fullmatch("x" * 255)
    assert not IDEMPOTENCY_KEY.fullmatch("x" * 256)
    assert f"each counted as {MIN_COUNTED // 2**10} KiB at least" in PAGE


def test_every_time_is_the_codes() -> None:
    times = {
        setting.strip("`"): stored for _, stored, _, setting in rows(section("How long things are kept")) if setting
    }
    assert len(times) == 6
    for setting, stored in times.items():
        assert amount(stored.partition(" after")[0]) == default(setting), setting


def test_the_pauses_between_attempts_are_the_codes() -> None:
    first, longest = default("webhook_backoff"), default("webhook_max_pause")
    backoff = Backoff(first, longest, int(default("webhook_attempts")), chance=lambda: 0.5)
    seconds = [backoff.pause(tries) for tries in range(1, backoff.attempts)]
    assert seconds == [5, 20, 80, 320, 1280, 5120, 20480, 21600]
    words = " ".join(PAGE.split())
    assert f"gets {PER_RECEIVER} messages at a time, an account {PER_ACCOUNT}" in words
    assert "9 attempts in all: after 5 s, 20 s, 80 s, 5 min, 21 min, 85 min, 5.7 h and 6 h" in words


def test_every_status_is_in_the_table() -> None:
    def tree(kind: type[TintypeError]) -> Iterator[int]:
        yield kind.status
        for child in kind.__subclasses__():
            yield from tree(child)

    assert [int(row[0]) for row in rows(section("Errors"))] == sorted({*tree(TintypeError)})


def test_every_header_is_in_the_tables() -> None:
    table = {name.lower() for row in rows(section("Headers")) for name in re.findall(r"`([\w-]+)`", row[0])}
    assert {*CORS["allow_headers"], *CORS["expose_headers"]} - {*OF_LIBRARIES} <= table


def test_every_parameter_is_its_models() -> None:
    tables = [f"| | `{table}" for table in section("Models").split("\n| | `")[1:]]
    names = [re.findall(r"`([^`]+)`", table.partition("\n")[0]) for table in tables]
    assert [name for heads in names for name in heads] == [*MODELS]
    for heads, row in ((heads, row) for heads, table in zip(names, tables, strict=True) for row in rows(f"\n{table}")):
        for slug, cell in zip(heads, row[1:], strict=False):
            known = {param.name: param for param in MODELS[slug].parameters}
            for name, low, high in re.findall(r"`(\w+)`(?: ([\d.]+)–([\d.]+))?", cell):
                assert name in known, (slug, name)
                if low:
                    assert (known[name].minimum, known[name].maximum) == (float(low), float(high)), (slug, name)
