"""Rows on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tintype.cli.rows import print_rows

ROWS = [{"id": "f896bd7a-2f11-4c48-81fc-09a68d1f72cc", **dict.fromkeys("abcdefgh", "twenty characters ..."), "z": None}]


@pytest.mark.parametrize("width", [20, 80, 300])
def test_nothing_is_cut_however_narrow_the_terminal_is(width: int) -> None:
    file = io.StringIO()
    print_rows(ROWS, as_json=False, console=Console(file=file, width=width))
    said = file.getvalue()
    assert re.sub(r"[ \n]", "", said).count("twentycharacters...") == 8
    assert "None" not in said
    assert "…" not in said
    assert (ROWS[0]["id"] in said) == (width > 40)
    assert ("┃" in said) == (width == 300), "a table where it fits"


def test_no_rows() -> None:
    file = io.StringIO()
    print_rows([], as_json=False, console=Console(file=file, width=80))
    assert "nothing yet" in file.getvalue()
