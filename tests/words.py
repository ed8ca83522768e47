"""Refuses old words in names, comments and docstrings: `python -m tests.words [--counts] [files or folders]`.

One table, of the words that have a better one in the field (docs/glossary.md). Names are read as their words:
`MOST_ROWS` is "MOST_ROWS most rows". Strings are what callers see and are not read, nor is what stands in backticks:
settings, columns and the wire have their own words there.
"""

from __future__ import annotations

import argparse
import keyword
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

SOURCES = Path("src/tintype")

#: Where a word is refused: in names, in comments and docstrings, in both.
NAME, PROSE, BOTH = "name", "prose", "both"
#: A regular expression for whole words, in small letters; `^Class` for a name as it is written.
WORDS: tuple[tuple[str, str, str], ...] = (
    (BOTH, r"pictures?", "image"),
    (BOTH, r"at once", "immediately; or concurrently, at the same time"),
    (BOTH, r"beside", "next to, in addition to"),
    (BOTH, r"nobody|somebody|anybody|everybody", "say what: no worker, another process, any client"),
    (BOTH, r"who(m|so)?ever", "say what: the caller that, the process that"),
    (BOTH, r"stand[- ]?ins?", "fake worker"),
    (BOTH, r"keepers?", "autoscaler"),
    (BOTH, r"bells?", "notify, wake-up"),
    (BOTH, r"hearts?", "heartbeat"),
    (BOTH, r"(?<!web)hooks?", "webhook"),
    (BOTH, r"glances?|lookers?", "preview"),
    (BOTH, r"(im)?patien(ce|t)", "timeout"),
    (BOTH, r"unhurried", "without a timeout"),
    (BOTH, r"tried again", "retried"),
    (BOTH, r"warm-?ups?|warming", "preload"),
    (BOTH, r"outlooks?", "ETA"),
    (BOTH, r"strays", "unexpected keys"),
    (BOTH, r"anew", "again"),
    (BOTH, r"tid(y|ies|ied)", "clean up"),
    (BOTH, r"wish(es|ed)?", "request, selection"),
    (PROSE, r"for ever", "indefinitely, permanently"),
    (PROSE, r"so (many|much)", "say how many: this many, N"),
    (PROSE, r"to be had", "available"),
    (PROSE, r"at the utmost", "at most"),
    (PROSE, r"waits? in a circle", "would deadlock"),
    (PROSE, r"(needed|used) longest ago|for whom it is longest ago", "least recently used, LRU"),
    (PROSE, r"(a|one|each|every|the (latest|last|next)|between|at most one) looks?", "preview; poll; check"),
    (PROSE, r"looks? (at|into) (pictures?|images?|an? empty)", "preview; poll"),
    (PROSE, r"mak(e|es|ing) way|made way", "evicted"),
    (PROSE, r"given back|gives? back", "returned, released"),
    (PROSE, r"sweeps?", "cleanup"),
    (PROSE, r"(in|into|from|leave) (\S+ )?\S+'s hands|in (its|their) hands?", "claimed by, running on"),
    (PROSE, r"front door", "`__init__`"),
    (PROSE, r"(the )?company( changes| it| they)", "batch"),
    (NAME, r"most|least", "max_…, min_…"),
    (NAME, r"usual", "default"),
    (NAME, r"life", "ttl, expires; lifecycle"),
    (NAME, r"silence", "idle timeout"),
    (NAME, r"looks?|looked", "preview; poll; check"),
    (NAME, r"beats?", "heartbeat"),
    (NAME, r"traits", "metadata"),
    (NAME, r"shortage", "oom"),
    (NAME, r"excess", "privilege escalation"),
    (NAME, r"endings", "outcomes"),
    (NAME, r"own keys", "key delegation"),
    (NAME, r"announce", "webhook events"),
    (NAME, r"residency", "DeviceMemory"),
    (NAME, r"^Order", "GenerationParams"),
    (NAME, r"^Job", "ImageSpec"),
    (NAME, r"^Denoising", "ImageState"),
    (NAME, r"^Task", "RunningRequest"),
    (NAME, r"^Drafts?", "RunningRequest"),
    (NAME, r"^Around", "RequestMetadata"),
    (NAME, r"^Terms", "RequestOptions"),
    (NAME, r"^Mark", "Progress"),
    (NAME, r"^Verdict", "LeaseStatus"),
    (NAME, r"^Told", "WorkerStats; EventCursor"),
    (NAME, r"^Loaded", "LoadedModel"),
    (NAME, r"^Guard", "SafetyFilter"),
    (NAME, r"^Poster", "WebhookSender"),
    (NAME, r"^Act", "Scenario"),
    (NAME, r"^Mover", "Transfer"),
    (NAME, r"^Peaks", "ActivationMemory"),
    (NAME, r"^Twin", "CompiledCopy"),
)
#: Names that stay: a price's, the database's tables, a state that answers have, another library's, and errors, whose
#: classes' names are labels of the metric `tintype_refusals`.
ALLOWED = {
    "most_seconds", "keepers", "warmups", "WARMING", "asyncio.Task",
    "BadPicture", "PictureUnreachable", "PictureNotFinite",
}  # fmt: skip
#: Whose attributes are columns.
ROWS = {"c", "columns", "row"}


class Hit(NamedTuple):
    """A refused word."""

    line: int
    word: str
    better: str


def _rules(*places: str) -> list[tuple[re.Pattern[str], str]]:
    chosen = [(pattern, better) for where, pattern, better in WORDS if where in places]
    return [
        (re.compile(rf"{pattern}\b" if pattern[0] == "^" else _spaced(pattern)), better) for pattern, better in chosen
    ]


def _spaced(pattern: str) -> str:
    """Whole words, also where a line ends between them."""
    return rf"\b({pattern})\b".replace(" ", r"\s+")


NAMES, TEXTS = _rules(NAME, BOTH), _rules(PROSE, BOTH)
#: After these, a string is a statement of its own.
BEFORE_STATEMENTS = (tokenize.ENCODING, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
OPENING, CLOSING = ("(", "[", "{"), (")", "]", "}")


def scan(file: Path) -> list[Hit]:
    """The refused words of a Python file, in order."""
    with file.open("rb") as lines:
        tokens = [*tokenize.tokenize(lines.readline)]
    code = [token for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL)]
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    docstrings = [token for before, token in pairwise(code) if before.type in BEFORE_STATEMENTS]
    texts = comments + [token for token in docstrings if token.type == tokenize.STRING]
    hits = [hit for token in texts for hit in _text(token.string, token.start[0])]
    depth = 0
    for owner, before, token, after in zip([*code[:1], *code], code, code[1:], code[2:], strict=False):
        depth += (token.string in OPENING) - (token.string in CLOSING)
        # The name of an argument is its function's.
        argument = depth and after.string == "=" and before.string in ("(", ",")
        column = before.string == "." and owner.string in ROWS
        if token.type == tokenize.NAME and not (argument or column or keyword.iskeyword(token.string)):
            hits += _name(token.string, f"{owner.string}.{token.string}", token.start[0])
    return sorted(hits)


def _text(text: str, line: int) -> Iterator[Hit]:
    plain = re.sub(r"`[^`]*`", lambda quoted: re.sub(r"[^\n]", " ", quoted[0]), text).lower()
    for pattern, better in TEXTS:
        for found in pattern.finditer(plain):
            yield Hit(line + plain.count("\n", 0, found.start()), " ".join(found[0].split()), better)


def _name(name: str, dotted: str, line: int) -> Iterator[Hit]:
    if {name, dotted} & ALLOWED:
        return
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", name).lower()
    for pattern, better in NAMES:
        if pattern.search(f"{name} {words}"):
            yield Hit(line, name, better)


def main() -> int:
    parser = argparse.ArgumentParser(description="Refuse old words in names, comments and docstrings.")
    parser.add_argument("--counts", action="store_true", help="print the hits of each folder only")
    parser.add_argument("paths", nargs="*", type=Path, default=[SOURCES], help="files and folders; all of src/tintype")
    asked = parser.parse_args()
    files = sorted({file for path in asked.paths for file in (path.rglob("*.py") if path.is_dir() else [path])})
    files = [file for file in files if "versions" not in file.parts]  # migrations say what was
    counts: Counter[Path] = Counter()
    for file in files:
        for hit in scan(file):
            counts[file.parent] += 1
            if not asked.counts:
                print(f"{file}:{hit.line}: {hit.word} → {hit.better}")  # noqa: T201
    if asked.counts:
        print("\n".join(f"{count:6} {folder}" for folder, count in sorted(counts.items())))  # noqa: T201
    return int(bool(counts))


if __name__ == "__main__":
    sys.exit(main())
