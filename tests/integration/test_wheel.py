"""The wheel that `make wheel` makes: all of src/tintype, installable with extras, without an index."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
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


def test_the_licences_and_the_command_are_in_it(wheel: Path) -> None:
    names = {name.partition(".dist-info/")[2]: name for name in zipfile.ZipFile(wheel).namelist()}
    fonts = "licenses/src/tintype/web/pages/static/fonts/OFL.txt"
    assert {"licenses/LICENSE", "licenses/src/tintype/weights/NOTICE", fonts} <= names.keys()
    assert "tintype = tintype.cli:main" in zipfile.ZipFile(wheel).read(names["entry_points.txt"]).decode()


def test_its_command_runs_from_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """The packages that it needs are those of this environment, since installing torch takes a minute."""
    venv.create(tmp_path / "env", with_pip=False)
    [there] = (tmp_path / "env").glob("lib/python*/site-packages")
    (there / "packages.pth").write_text("\n".join(one for one in sys.path if one.endswith("site-packages")))
    python = tmp_path / "env" / "bin" / "python"
    pip("--python", python, "install", "--no-index", "--no-deps", "--no-compile", f"{wheel}[postgres,s3]")
    asked = [tmp_path / "env" / "bin" / "tintype", "models", "show", "sd1.5-img2img", "--json"]
    said = subprocess.run(asked, env={}, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert json.loads(said)["weights"] == "built-in"
    assert not (tmp_path / "data").exists()
    where = subprocess.run(
        [python, "-c", "import tintype; print(tintype.__file__)"], check=True, capture_output=True, text=True
    )
    assert Path(where.stdout).is_relative_to(there)


def documented(way: str, place: Path) -> list[str]:
    """The commands of docs/install.md for one way; `pip`: those of a server, up to the one that installs the wheel."""
    text = (ROOT / "docs" / "install.md").read_text("utf-8").replace("/opt/tintype", f"{place}/opt")
    first = {"pip": rf"python3 -m venv|{place}/opt/bin/pip"}.get(way, way)
    commands = re.findall(rf"^    ((?:{first}) .*)$", text, re.MULTILINE)
    last = next(index for index, command in enumerate(commands) if ".whl[" in command)
    return commands[: last + 1]


@pytest.mark.nightly  # a gigabyte each
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["pip", "uv", "pipx"])
def test_the_documented_commands_install_it_into_an_empty_environment(wheel: Path, tmp_path: Path, way: str) -> None:
    """With all that it needs, from the index; and what they install draws."""
    if way != "pip" and shutil.which(way) is None:
        pytest.skip(f"{way} is not on this machine")
    shutil.copytree(wheel.parent, tmp_path / "dist")
    shutil.copytree(ROOT / "locks", tmp_path / "dist" / "locks")
    shutil.copy(ROOT / "constraints.txt", tmp_path / "dist")
    own = {"UV_TOOL_DIR": "uv", "UV_TOOL_BIN_DIR": "bin", "PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin"}
    env = {**os.environ, **{name: str(tmp_path / folder) for name, folder in own.items()}}
    for command in documented(way, tmp_path):
        done = subprocess.run(command, shell=True, env=env, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    binary = tmp_path / ("opt/bin" if way == "pip" else "bin") / "tintype"
    asked = [binary, "generate", "stable-diffusion-3.5-turbo-txt2img", "--width", "64", "--height", "64"]
    asked += ["--prompt", "a fox", "-o", "out.png"]
    subprocess.run(asked, env={}, check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "out.png").is_file()
    shutil.rmtree(tmp_path)  # pytest would keep it
