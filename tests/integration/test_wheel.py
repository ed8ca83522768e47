"""The wheel that `make wheel` makes: all of src/tintype, installable with extras, without an index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = shutil.ignore_patterns("__pycache__", "*.egg-info")


def pip(*arguments: object, cwd: Path | None = None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments)], cwd=cwd, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of a copy, with the command of the Makefile: a build leaves things beside the sources."""
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "src", copy / "src", ignore=NOT_OURS)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    [command] = re.findall(r"-m pip (wheel .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    pip(*command.split(), "--no-index", cwd=copy)
    [made] = (copy / "dist").iterdir()
    return made


def test_everything_of_the_sources_is_in_it(wheel: Path) -> None:
    source = ROOT / "src" / "tintype"
    ours = {f"tintype/{path.relative_to(source)}" for path in source.rglob("*") if path.is_file()}
    ours = {path for path in ours if "__pycache__" not in path}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tintype/")}
    assert packed == ours
    kinds = {"tintype/weights/NOTICE", "tintype/web/pages/static/api.js", "tintype/store/db/migrations/env.py"}
    assert kinds <= packed


@pytest.mark.nightly  # what is in it is in what is installed
def test_it_is_installed_with_extras_and_draws_with_what_it_brings(wheel: Path, tmp_path: Path) -> None:
    pip("install", "--no-index", "--no-deps", "--target", tmp_path / "there", f"{wheel}[postgres,s3]")
    asked = [sys.executable, "-m", "tintype", "models", "list", "--data", str(tmp_path / "data")]
    env = {"PYTHONPATH": str(tmp_path / "there"), "PATH": "/usr/bin:/bin"}
    said = subprocess.run(asked, env=env, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert said.count("built-in") == 4
