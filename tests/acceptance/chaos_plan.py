"""What is asked in the chaos test: a plan drawn from a seed, so that a failure can be tried again."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from random import Random
from typing import Any

from PIL import Image

from tests.acceptance.test_http_helpers import MEDIUM, OLD, TEXT, TURBO
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database

#: Each ask's own seed, by which its row is known: this and its number.
FIRST_SEED = 1_000_000
#: Micro-dollars of the account whose credits run out: four of the cheapest pictures.
POOR = 4 * 3_500


#: The model, and what is sent to it.
Body = tuple[str, dict[str, Any]]


class Way(StrEnum):
    """How a caller goes about it."""

    #: The v1 call, which waits.
    BLOCKING = "blocking"
    #: The v2 call, and its status again and again.
    POLLED = "polled"
    #: The v2 call, and its events.
    FOLLOWED = "followed"
    #: The v2 call, and not looked at again.
    LEFT = "left"
    #: The v2 call, and a cancel after some looks.
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Ask:
    """One caller's wish."""

    number: int
    #: The name of the key in KEYS.
    key: str
    slug: str
    body: dict[str, Any]
    way: Way = Way.LEFT
    #: Its Idempotency-Key, if it has one; and whether it is sent a second time although the first was answered.
    once: str | None = None
    again: bool = False
    #: Looks at it before it is cancelled.
    looks: int = 0
    #: Whether a receiver is to be told of its end.
    hooked: bool = False
    #: The status of the refusal that it must get, whatever else happens; nothing may be queued or charged for it.
    refused: int | None = None

    @property
    def pictures(self) -> int:
        """How many it asks for."""
        return int(self.body.get("batch_size", self.body.get("samples", 1)))


#: The keys of the load, with how many asks of a hundred are each one's, and its limits.
KEYS: dict[str, tuple[int, dict[str, int]]] = {
    "free": (46, {}),
    "narrow": (16, {"concurrency": 2}),
    "slow": (10, {"rpm": 4}),
    "few": (12, {"max_queued": 3}),
    "poor": (10, {}),
    "test": (6, {}),
}


@dataclass(frozen=True)
class Keys:
    """The load's keys in a database: secrets and ids by name."""

    secrets: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, db: Database) -> Keys:
        """Make them: all of one account with money enough, but for `poor`."""
        made, store = cls(), Accounts(db)
        rich = store.create("rich", 1_000_000_000).id
        for name, (_, limits) in KEYS.items():
            account = store.create("poor", POOR).id if name == "poor" else rich
            key, made.secrets[name] = store.keys.create(account, name, test=name == "test", **limits)
            made.ids[key.id] = name
        return made


def plan(seed: int, number: int) -> list[Ask]:
    """So many asks; the same ones for the same seed."""
    chance = Random(seed)
    return [_ask(chance, one, _live) for one in range(number)]


def light(seed: int) -> Iterator[Ask]:
    """Asks without end for pictures that cost next to nothing."""
    chance = Random(seed)
    return (_ask(chance, number, _tiny) for number in count())


def _ask(chance: Random, number: int, live: Callable[[Random, str], Body]) -> Ask:
    if chance.random() < 0.06:
        return _bad(chance, number)
    [key] = chance.choices([*KEYS], [share for share, _ in KEYS.values()])
    slug, body = _test(chance) if key == "test" else live(chance, key)
    [way] = chance.choices([*Way], [3, 4, 1, 3, 3])
    once = f"ask-{number}" if chance.random() < 0.7 else None
    return Ask(
        number,
        key,
        slug,
        body | {"seed": FIRST_SEED + number},
        way,
        once=once,
        again=once is not None and chance.random() < 0.3,
        looks=chance.randrange(12),
        hooked=chance.random() < 0.2,
    )


def _live(chance: Random, key: str) -> Body:
    """Mostly small and quick ones, and some that run long enough to be interrupted."""
    prompt = {"prompt": f"a {chance.choice(['red', 'blue', 'striped'])} fox"}
    if key == "poor" or chance.random() < 0.6:
        size, steps = chance.choice([64, 128, 192]), chance.choice([1, 2, 4, 8, 60])
        count = 1 if key == "poor" else chance.choice([1, 1, 1, 2, 3])
        return TEXT, prompt | {"width": size, "height": size, "steps": steps, "batch_size": count}
    if chance.random() < 0.5:
        return MEDIUM, prompt | {"image": inline(chance), "num_inference_steps": chance.choice([4, 40])}
    if chance.random() < 0.5:
        return TURBO, prompt | {"image": inline(chance), "mode": "image-to-image"}
    return OLD, prompt | {"image": inline(chance), "num_inference_steps": 20, "strength": 0.5}


def _tiny(chance: Random, key: str) -> Body:
    prompt = {"prompt": f"a fox number {chance.randrange(1000)}"}
    if chance.random() < 0.1:
        return MEDIUM, prompt | {"image": inline(chance), "num_inference_steps": 2}
    if chance.random() < 0.05:
        return OLD, prompt | {"image": inline(chance), "num_inference_steps": 20, "strength": 0.1}
    size, pictures = chance.choice([64, 96]), 1 if key == "poor" else chance.choice([1, 1, 2])
    return TEXT, prompt | {"width": size, "height": size, "steps": chance.choice([1, 2, 4]), "batch_size": pictures}


def _test(chance: Random) -> Body:
    magic = ["test:ok", "test:retries:1", "test:fail:safety", "test:processing:0.5", "test:fail:crash"]
    return TEXT, {"prompt": chance.choice(magic), "width": 64, "height": 64}


def _bad(chance: Random, number: int) -> Ask:
    """What must be refused, and cost nothing."""
    wrong, status = chance.choice(
        [({"steps": 1000}, 400), ({"width": "wide"}, 400), ({"prompt": None}, 400), ({"batch_size": 5}, 403)]
    )
    body = {"prompt": "a fox", "width": 64, "height": 64, "seed": FIRST_SEED + number, **wrong}
    # More pictures than the key may ever have at once is Forbidden, and nothing of the sort is a matter of waiting.
    return Ask(number, "few" if status == 403 else "free", TEXT, body, once=f"ask-{number}", refused=status)


def inline(chance: Random) -> str:
    """A small picture as a data: URI."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), chance.choice(["red", "green", "navy"])).save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
