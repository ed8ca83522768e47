"""check.py's own comparison over the visible cases: every one passes, asks where the reference asks, draws as often."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.golden import check

CASES = json.loads((Path(__file__).parent / "visible" / "index.json").read_text())["cases"]
#: check.py, which stays as it came, leaves its files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
SAMPLERS = sorted({case["sampler"] for case in CASES})


def checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What check.py prints, having found nothing wrong."""
    monkeypatch.setattr(sys, "argv", ["check.py", "tests.golden.adapter:sample", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        check.main()
    said = capsys.readouterr().out
    assert end.value.code == 0, said
    return said


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler(sampler: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = checked(monkeypatch, capsys, "--only", f"/{sampler}/")
    cases = sum(case["sampler"] == sampler for case in CASES)
    assert f"TOTAL {cases}/{cases} " in said
    assert f"model-call pattern equal: {cases} " in said
    assert f"noise-draw count equal: {cases}\n" in said


def test_all_cases_are_there() -> None:
    assert len(CASES) == 918
    assert len(SAMPLERS) == 27


def test_schedules(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = checked(monkeypatch, capsys, "--only", "^no case$", "--schedules", "tests.golden.adapter:sigmas")
    assert "SCHEDULES 700/700" in said
