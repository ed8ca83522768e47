"""Rows on a terminal."""

from __future__ import annotations

import csv
import io
import re

import pytest
from rich.console import Console

from tintype.cli.output import print_csv, print_rows

ROWS = [{"id": "f896bd7a-2f11-4c48-81fc-09a68d1f72cc", **dict.fromkeys("abcdefgh", "twenty characters ..."), "z": None}]


@pytest.mark.parametrize("width", [20, 80, 300])
def test_nothing_is_cut_however_narrow_the_terminal_is(width: int) -> None:
    file = io.StringIO()
    print_rows(ROWS, as_json=False, console=Console(file=file, width=width, force_terminal=True, color_system=None))
    said = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert re.sub(r"[ \n]", "", said).count("twentycharacters...") == 8
    assert "None" not in said
    assert "…" not in said
    assert (ROWS[0]["id"] in said) == (width > 40)
    assert ("┃" in said) == (width == 300), "a table where it fits"


def test_a_pipe_gets_a_line_each_in_columns_that_can_be_taken_apart(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": ROWS[0]["id"], "name": "a fox\nand more", "state": None},
        {"id": "b", "name": "狐 [red]", "state": "x"},
    ]
    print_rows(rows, as_json=False, console=Console(file=io.StringIO(), width=80))
    lines = capsys.readouterr().out.splitlines()
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


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], as_json=False)
    file = io.StringIO()
    print_rows([], as_json=False, console=Console(file=file, width=80, force_terminal=True))
    assert capsys.readouterr().out == "nothing yet\n"
    assert "nothing yet" in file.getvalue()


def test_a_spreadsheet_runs_nothing_that_a_caller_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([{"who": '=HYPERLINK("http://x")', "cost": -1.5, "note": None}, {"who": "a, b", "cost": 2, "note": "@x"}],
              ["who", "cost", "note"])  # fmt: skip
    rows = [*csv.reader(io.StringIO(capsys.readouterr().out))]
    assert rows == [["who", "cost", "note"], ['\'=HYPERLINK("http://x")', "-1.5", ""], ["a, b", "2", "'@x"]]
