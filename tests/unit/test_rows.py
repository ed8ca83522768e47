"""Rows on a terminal."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from rich.console import Console

from tintype.cli.output import print_csv, print_rows

ROWS = [{"id": "f896bd7a-2f11-4c48-81fc-09a68d1f72cc", **dict.fromkeys("abcdefgh", "twenty characters ..."), "z": None}]


def on_terminal(width: int, rows: list[dict[str, Any]] = ROWS, **options: Any) -> str:
    file = io.StringIO()
    print_rows(rows, console=Console(file=file, width=width, force_terminal=True, color_system=None), **options)
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


@pytest.mark.parametrize("width", [20, 50, 80, 100, 300])
def test_no_value_is_cut_however_narrow_the_terminal_is(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    said = on_terminal(width)
    assert "None" not in said
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= width
    shown = re.sub(r"[ \n]", "", said).count("twentycharacters...")
    left_out = capsys.readouterr().err
    if width in (80, 100):  # the first columns, as many as fit
        assert (said.splitlines()[1].split()[0], shown) == (ROWS[0]["id"], (width - 36) // 23)
        named = "bcdefgh"[shown - 1 :]
        assert left_out == f"not shown at this width: {', '.join(named)}; --wide has them, and --json\n"
    else:  # all: on a line each where the first two don't fit next to each other
        assert (shown, left_out) == (8, "")
        assert (len(said.splitlines()) == 2) == (width == 300)


def test_a_column_that_fits_is_shown_although_one_before_it_does_not() -> None:
    rows = [{"id": "a", "name": "b", "long": "c" * 80, "short": "d"}]
    assert [line.split() for line in on_terminal(40, rows).splitlines()] == [["id", "name", "short"], ["a", "b", "d"]]
    assert "c" * 80 in on_terminal(40, rows, keep=3).replace("\n", "").replace(" ", "")


def test_wide_has_every_column_in_a_line_of_any_length() -> None:
    heads, line = on_terminal(40, wide=True).splitlines()
    assert heads.split() == [*ROWS[0]]
    assert re.split(r" {2,}", line) == [value or "-" for value in ROWS[0].values()]


def test_a_pipe_gets_a_line_each_in_columns_that_can_be_taken_apart() -> None:
    rows = [
        {"id": ROWS[0]["id"], "name": "a fox\nand more", "state": None},
        {"id": "b", "name": "狐 [red]", "state": "x"},
    ]
    pipe = io.StringIO()
    print_rows(rows, console=Console(file=pipe, width=40))
    lines = pipe.getvalue().splitlines()
    assert [re.split(r" {2,}", line) for line in lines] == [
        ["id", "name", "state"],
        [ROWS[0]["id"], "a fox and more", "-"],
        ["b", "狐 [red]", "x"],
    ]
    assert len({len(line) + line.count("狐") - len(line.split()[-1]) for line in lines}) == 1, "aligned"


@pytest.mark.parametrize("width", [20, 80])
def test_a_name_is_no_markup(width: int) -> None:
    """Callers name their keys: one of them must not keep the operator from listing all."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    print_rows([{"name": "[/] [b]x :fox:", "id": "a" * 10}], as_json=False, console=console)
    assert "[/] [b]x :fox:" in file.getvalue().replace("\n", "")


def test_a_name_does_not_steer_the_terminal() -> None:
    file = io.StringIO()
    print_rows([{"name": "a\x1b]0;b\a\u202e狐"}], console=Console(file=file, width=80))
    assert file.getvalue().splitlines()[1] == r"a\x1b]0;b\x07\u202e狐"


def test_a_width_of_zero_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    print_rows([{"name": "a"}])
    assert capsys.readouterr().out == "name\na\n"


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([])
    assert capsys.readouterr().out == on_terminal(80, []) == "nothing yet\n"


def test_a_spreadsheet_runs_nothing_that_a_caller_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([{"who": '=HYPERLINK("http://x")', "cost": -1.5, "note": None}, {"who": "a, b", "cost": 2, "note": "@x"}],
              ["who", "cost", "note"])  # fmt: skip
    rows = [*csv.reader(io.StringIO(capsys.readouterr().out))]
    assert rows == [["who", "cost", "note"], ['\'=HYPERLINK("http://x")', "-1.5", ""], ["a, b", "2", "'@x"]]
