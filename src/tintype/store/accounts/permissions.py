"""Whether one key may do more than another: no key makes or changes one that does."""

from __future__ import annotations

from collections.abc import Iterator

from tintype.store.accounts.keys import Key
from tintype.store.queue.limits import Ceilings

#: Limits of a key that a second key would add to, and the words for them.
SUMS = {
    "spend_cap": "a spend cap",
    "rpm": "a number of requests per minute of its own",
    "concurrency": "a number of requests at once of its own",
    "max_queued": "a number of pictures at once of its own",
}


def sums(key: Key) -> list[str]:
    """Those of its limits, in words, for which it manages no key but itself."""
    return [words for name, words in SUMS.items() if getattr(key, name) is not None]


def excess(key: Key, over: Key, ceilings: Ceilings) -> Iterator[str]:
    """In what a key may do more than another one, or than this server lets keys without limits of their own do.

    Only an operator sets a key's own limits above the server's.
    """
    if over.test and not key.test:
        yield "it is no test key"
    if over.models is not None and (key.models is None or not {*key.models} <= {*over.models}):
        yield f"its models are not among {', '.join(over.models)}"
    if over.max_pixels is not None and (key.max_pixels is None or key.max_pixels > over.max_pixels):
        yield f"its max_pixels are not {over.max_pixels} or fewer"
    if over.expires_at is not None and (key.expires_at is None or key.expires_at > over.expires_at):
        yield "it works for longer"
    # Where the two differ, only the strictest is no more: what None stands for is the server's to know.
    if key.safety not in (over.safety, "block"):
        yield "its safety check is another"
    if key.operator and not over.operator:
        yield "it is an operator's"
    for name in ("rpm", "concurrency", "max_queued"):
        own, most = getattr(key, name), getattr(ceilings, name)
        if own is not None and most and own > most:
            yield f"its {name} is above this server's {most}"
