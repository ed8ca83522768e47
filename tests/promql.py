"""What an expression of Prometheus' language asks for: enough of a parser to check names, not to compute anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[A-Za-z_:][\w:]*|[0-9][\w.]*|[!=~<>]+|\S')
NAME = re.compile(r"[A-Za-z_:][\w:]*")
OPERATORS = frozenset({"and", "or", "unless", "bool", "offset"})
#: Before what is a list of labels.
GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})


@dataclass
class Asked:
    """Samples by name, each with its matchers (label, operator, value); and labels that samples are grouped by."""

    samples: list[tuple[str, list[tuple[str, str, str]]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}


def asked(expression: str) -> Asked:
    """Everything that an expression names; functions and aggregations are what a bracket follows."""
    found, tokens = Asked(), [token for token in TOKEN.findall(expression) if not token.startswith("[")]
    place = 0
    while place < len(tokens):
        token, after = tokens[place], tokens[place + 1 : place + 2]
        place += 1
        if not NAME.fullmatch(token) or token in OPERATORS:
            continue
        if token in GROUPING:
            labels, place = _inside(tokens, place, "(", ")")
            found.grouped |= {label for label in labels if label != ","}
        elif after not in (["("], ["by"], ["without"]):
            inside, place = _inside(tokens, place, "{", "}")
            found.samples.append((token, [*_matchers(inside)]))
    return found


def _inside(tokens: list[str], place: int, opens: str, closes: str) -> tuple[list[str], int]:
    """What stands between these, if they stand here; and where it goes on."""
    if tokens[place : place + 1] != [opens]:
        return [], place
    end = tokens.index(closes, place)
    return tokens[place + 1 : end], end + 1


def _matchers(inside: list[str]) -> Iterator[tuple[str, str, str]]:
    plain = [token for token in inside if token != ","]
    assert len(plain) % 3 == 0, inside
    for first in range(0, len(plain), 3):
        label, operator, value = plain[first : first + 3]
        yield label, operator, value.strip('"')
