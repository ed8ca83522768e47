"""How tintype is installed, as every file says it: it is on no index, where anybody could take its name."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tintype.cli.options import missing_extra

ROOT = Path(__file__).parents[2]
#: But for the change log, which says what was.
SAID = ("README.md", "docs", "deploy", "src", "examples", "benchmarks", "training")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
#: By lock, the extras whose packages are in it.
LOCKS = {"run": ["demo"], "server": ["demo", "otel", "postgres", "s3", "safety"], "dev": [*EXTRAS]}
#: Its bare name as a package's: `pip install 'tintype[s3]'`, `pip install -U tintype`.
FROM_AN_INDEX = re.compile(r"""pip3? install (?:-\S+ )*['"]?tintype(?![-\w./])|(?<![/\w])tintype\[[a-z]""")
#: From its own place, with extras.
WITH_EXTRAS = re.compile(r"(?:/path/to/tintype|/srv/tintype|\.whl\)?|'\.)\[([a-z0-9,]+)\]")


def texts() -> Iterator[tuple[str, str]]:
    for place in (ROOT / name for name in SAID):
        for path in (place, *place.rglob("*")):
            built = path.parent.suffix == ".egg-info"  # by pip, and in no repository
            if path.suffix in (".md", ".yaml", ".py", ".js", ".service", ".toml", "") and path.is_file() and not built:
                yield str(path.relative_to(ROOT)), path.read_text("utf-8")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("pip install tintype", True),
        ("pip install --upgrade 'tintype'", True),
        ("pip install 'tintype[s3]'", True),
        ("the extra tintype[s3]", True),
        ("pip install '/path/to/tintype[s3]'", False),
        ("pip install 'dist/tintype-0.1.0-py3-none-any.whl[s3]'", False),
        ("/opt/tintype/bin/pip install ray", False),
    ],
)
def test_what_an_index_would_be_asked_for(line: str, found: bool) -> None:
    assert bool(FROM_AN_INDEX.search(line)) is found


def test_nothing_says_to_take_it_from_an_index() -> None:
    assert [name for name, text in texts() if FROM_AN_INDEX.search(text)] == []


def test_every_extra_that_is_named_exists() -> None:
    named = {extra for _, text in texts() for found in WITH_EXTRAS.findall(text) for extra in found.split(",")}
    assert {"postgres", "s3", "ray", "otel", "safety", "demo"} <= named <= EXTRAS.keys()


def test_a_missing_extra_is_one_line_that_can_be_followed() -> None:
    said = missing_extra("TINTYPE_STORAGE_URL", "s3")
    assert said.startswith("TINTYPE_STORAGE_URL needs the extra s3: pip install '/path/to/tintype[s3]', ")
    assert (ROOT / "docs" / re.findall(r"\w+\.md", said)[0]).is_file()


def test_a_machine_of_ray_s_is_given_the_wheel_that_was_made(tmp_path: Path) -> None:
    """The line of ray.yaml, as its shell reads it, with `echo` in pip's place."""
    (tmp_path / "dist").mkdir()
    wheel = tmp_path / "dist" / "tintype-0.1.0-py3-none-any.whl"
    wheel.touch()
    [line] = re.findall(r"^  - (\S+/pip install .*)$", (ROOT / "deploy/ray.yaml").read_text("utf-8"), re.MULTILINE)
    line = line.replace("/opt/tintype/bin/pip", "echo").replace("/home/ubuntu", str(tmp_path))
    said = subprocess.run(["sh", "-c", line], check=True, capture_output=True, text=True).stdout.split()
    assert said == ["install", "--constraint", f"{tmp_path}/dist/constraints.txt", f"{wheel}[ray,postgres,s3]", "boto3"]


def pins(name: str) -> dict[str, str]:
    """A file's packages with their versions."""
    lines = re.findall(r"^([a-z0-9-]+)==([^ ;\n]+)", (ROOT / name).read_text("utf-8"), re.MULTILINE)
    assert len(lines) == len(dict(lines)), "each once"
    return dict(lines)


@pytest.mark.parametrize(("lock", "extras"), LOCKS.items())
def test_a_lock_has_a_hash_for_every_package_and_the_versions_of_the_constraints(lock: str, extras: list[str]) -> None:
    named, known = pins(f"locks/{lock}.txt"), pins("constraints.txt")
    assert named.items() <= known.items(), "run make lock"
    assert "torch" not in named, "one hash can't be that of all its builds"
    blocks = re.split(r"\n(?=\S)", (ROOT / f"locks/{lock}.txt").read_text("utf-8"))
    assert [block for block in blocks if not block.startswith("#") and "--hash=sha256:" not in block] == []
    wanted = [*PROJECT["project"]["dependencies"], *(one for extra in extras for one in EXTRAS[extra])]
    direct = {re.split(r"[^A-Za-z0-9-]", one)[0] for one in wanted} - {"tintype", "torch"}
    assert direct - named.keys() == set(), "run make lock"


def test_the_locks_make_the_constraints_and_build_with_the_same_setuptools() -> None:
    known = pins("constraints.txt")
    assert known == {**pins("locks/dev.txt"), "torch": known["torch"]}
    assert PROJECT["build-system"]["requires"] == [f"setuptools=={known['setuptools']}"]
    assert all("setuptools" in pins(f"locks/{lock}.txt") for lock in LOCKS), "which builds, without isolation"
    [torch] = PROJECT["tool"]["uv"]["dependency-metadata"]
    assert torch["version"] == known["torch"]


def test_what_litellm_brings_differs_from_ours_in_two_packages() -> None:
    ours, apart = pins("locks/dev.txt"), pins("locks/litellm.txt")
    assert apart.items() >= dict(re.findall(r"(.*)==(.*)", *PROJECT["dependency-groups"]["litellm"])).items()
    assert apart.keys() & ours.keys() == {"certifi", "importlib-metadata"}, "what is here already is not brought again"


def test_what_runs_is_not_made_to_bring_what_develops() -> None:
    assert not {"ray", "mypy", "moto", "pytest", "matplotlib", "psycopg"} & pins("locks/run.txt").keys()
    assert not {"comfy-sdk", "litellm", "openai", "replicate", "webuiapi"} & pins("locks/server.txt").keys()
    targets = dict(re.findall(r"^([a-z]+): (.*?) ##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert (targets["demo"], targets["serve"], targets["wheel"], targets["install"]) == (*["install"] * 3, "$(RUNS)")
