"""The files under deploy/ name settings and commands that exist; their own tools check the rest in `make check`."""

import re
import shlex
from pathlib import Path

import click
import pytest

from tintype.cli import tintype
from tintype.cli.serve import worker_grace
from tintype.settings import Settings
from tintype.web.shutdown import LAST_ANSWERS

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
DOCKER = ("Dockerfile", "compose.yaml")
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


def seconds(name: str, pattern: str) -> float:
    """The one number in a file that a pattern finds."""
    [found] = re.findall(pattern, TEXTS[name], re.M)
    return float(found)


def test_nothing_is_killed_before_it_has_stopped_by_itself() -> None:
    own = Settings()
    web = own.web_grace + LAST_ANSWERS + own.webhook_timeout
    pod_drains = seconds("kubernetes/web.yaml", r"TINTYPE_WEB_DRAIN, value: \"(\d+)\"")
    assert seconds("kubernetes/web.yaml", r"terminationGracePeriodSeconds: (\d+)") > pod_drains + web
    assert pod_drains > own.web_drain, "a pod's end takes longer to get around than a refused connection"
    of = r"^  {}:\n(?:    .*\n)*?    stop_grace_period: (\d+)s$"
    assert seconds("compose.yaml", of.format("web")) > own.web_drain + web
    # With its workers on the same machine, one after the other.
    whole = own.web_drain + web + worker_grace(own)
    assert seconds("tintype.service", r"^TimeoutStopSec=(\d+)$") > whole
    assert seconds("compose.yaml", of.format("worker")) > worker_grace(own)
    assert seconds("kubernetes/worker.yaml", r"terminationGracePeriodSeconds: (\d+)") > worker_grace(own)


def test_whether_a_server_lives_depends_on_no_database() -> None:
    """Else all servers would be restarted because that is away; whether calls are sent to one does."""
    probes = dict(re.findall(r'(\w+)Probe: {httpGet: {path: "?([/?\w]+)', TEXTS["kubernetes/web.yaml"]))
    assert probes == {"liveness": "/health", "startup": "/health", "readiness": "/ready?web"}
    asked = {name: re.findall(r"urlopen\('http://127.0.0.1:8000([^']+)'", TEXTS[name]) for name in DOCKER}
    assert asked == {"Dockerfile": ["/health"], "compose.yaml": ["/ready?web"]}


def commands() -> list[list[str]]:
    """What is run: `[tintype, …]` in YAML and Dockerfiles, ExecStart in units, lines of Ray's file."""
    listed = [found.replace('"', "").split(",") for text in TEXTS.values() for found in re.findall(r"\[(.*)\]", text)]
    units = [shlex.split(found) for text in TEXTS.values() for found in re.findall(r"^ExecStart=(.*)$", text, re.M)]
    shell = [["tintype", *found.split()] for found in re.findall(r"/bin/tintype ([^|()\n]*)$", TEXTS["ray.yaml"], re.M)]
    words = [[word.strip() for word in command] for command in listed + units + shell]
    return [command[1:] for command in words if Path(command[0]).name == "tintype"]


def test_every_command_is_one_of_ours() -> None:
    found = commands()
    assert len(found) == 8
    for name, *options in found:
        command: click.Command = tintype.commands[name]
        if isinstance(command, click.Group):
            command = command.commands[options.pop(0)]
        command.make_context(name, options, resilient_parsing=False)
