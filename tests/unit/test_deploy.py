"""The files under deploy/ name settings and commands that exist; their own tools check the rest in `make check`."""

import re
import shlex
from pathlib import Path

import click
import pytest

from tintype.cli import tintype
from tintype.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
TEXTS = {str(path.relative_to(DEPLOY)): path.read_text() for path in FILES}


@pytest.mark.parametrize("name", TEXTS)
def test_every_setting_exists(name: str) -> None:
    named = set(re.findall(r"TINTYPE_([A-Z0-9_]+)", TEXTS[name]))
    assert named <= {field.upper() for field in Settings.model_fields}


def test_no_service_sets_a_setting() -> None:
    """Kubernetes gives pods TINTYPE_PORT=tcp://… for a Service `tintype`, unless they refuse."""
    pods = [text for name, text in TEXTS.items() if name.startswith("kubernetes") and "kind: Deployment" in text]
    assert len(pods) == 2
    assert all("enableServiceLinks: false" in text for text in pods)


def commands() -> list[list[str]]:
    """What is run: `[tintype, …]` in YAML and Dockerfiles, ExecStart in units, lines of Ray's file."""
    listed = [found.replace('"', "").split(",") for text in TEXTS.values() for found in re.findall(r"\[(.*)\]", text)]
    units = [shlex.split(found) for text in TEXTS.values() for found in re.findall(r"^ExecStart=(.*)$", text, re.M)]
    units = [[word.replace("%i", "1") for word in command] for command in units]  # a template's instance
    shell = [["tintype", *found.split()] for found in re.findall(r"/bin/tintype ([^|()\n]*)$", TEXTS["ray.yaml"], re.M)]
    words = [[word.strip() for word in command] for command in listed + units + shell]
    return [command[1:] for command in words if Path(command[0]).name == "tintype"]


def test_every_command_is_one_of_ours() -> None:
    found = commands()
    assert len(found) == 10
    for name, *options in found:
        command: click.Command = tintype.commands[name]
        if isinstance(command, click.Group):
            command = command.commands[options.pop(0)]
        command.make_context(name, options, resilient_parsing=False)
