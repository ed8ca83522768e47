"""The files under deploy/ name settings and commands that exist; their own tools check the rest in `make check`."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tests.deploy_files import Compose, Folders, Kubernetes, Process, Systemd

from tintype.catalog.modelfile import read_models_file
from tintype.catalog.models import SOURCES
from tintype.cli import tintype
from tintype.cli.serve import worker_grace
from tintype.settings import CONFIG, VARIABLES, Settings
from tintype.web.shutdown import LAST_ANSWERS

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
DOCKER = ("Dockerfile", "compose.yaml")
TEXTS = {str(path.relative_to(DEPLOY)): path.read_text() for path in FILES}
#: Everything that Kubernetes is given, the operators' own kinds included.
OBJECTS: list[dict[str, Any]] = [
    one
    for name, text in TEXTS.items()
    if name.startswith("kubernetes") and ".head." not in name
    for one in yaml.safe_load_all(text)
]
PODS = [one["spec"]["template"]["spec"] for one in OBJECTS if one["kind"] in ("Deployment", "Job")]


@pytest.mark.parametrize("name", TEXTS)
def test_every_setting_exists(name: str) -> None:
    named = set(re.findall(r"TINTYPE_([A-Z0-9_]+)", TEXTS[name]))
    assert named <= {*VARIABLES, CONFIG}


def test_no_service_sets_a_setting() -> None:
    """Kubernetes gives pods TINTYPE_PORT=tcp://… for a Service `tintype`, unless they refuse."""
    assert [pod["enableServiceLinks"] for pod in PODS] == [False] * 3


def test_nothing_of_a_container_s_own_is_written() -> None:
    containers = [one for pod in PODS for one in (*pod.get("initContainers", ()), *pod["containers"])]
    assert [one["securityContext"]["readOnlyRootFilesystem"] for one in containers] == [True] * 4
    assert all("/tmp" in {mount["mountPath"] for mount in one["volumeMounts"]} for one in containers)


def seconds(name: str, pattern: str) -> float:
    """The one number in a file that a pattern finds."""
    [found] = re.findall(pattern, TEXTS[name], re.M)
    return float(found)


def test_nothing_is_killed_before_it_has_stopped_by_itself() -> None:
    own = Settings()
    web = own.web.grace + LAST_ANSWERS + own.webhooks.timeout
    pod_drains = seconds("kubernetes/web.yaml", r"TINTYPE_WEB_DRAIN, value: \"(\d+)\"")
    assert seconds("kubernetes/web.yaml", r"terminationGracePeriodSeconds: (\d+)") > pod_drains + web
    assert pod_drains > own.web.drain, "a pod's end takes longer to get around than a refused connection"
    of = r"^  {}:\n(?:    .*\n)*?    stop_grace_period: (\d+)s$"
    assert seconds("compose.yaml", of.format("web")) > own.web.drain + web
    # With its workers on the same machine, one after the other.
    whole = own.web.drain + web + worker_grace(own)
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
    units = [[word.replace("%i", "1") for word in command] for command in units]  # a template's instance
    shell = [["tintype", *found.split()] for found in re.findall(r"/bin/tintype ([^|()\n]*)$", TEXTS["ray.yaml"], re.M)]
    words = [[word.strip() for word in command] for command in listed + units + shell]
    return [command[1:] for command in words if Path(command[0]).name == "tintype"]


def test_every_command_is_one_of_ours() -> None:
    found = commands()
    assert len(found) == 14
    for name, *options in found:
        command: click.Command = tintype.commands[name]
        if isinstance(command, click.Group):
            command = command.commands[options.pop(0)]
        command.make_context(name, options, resilient_parsing=False)


def deployments(folder: Path) -> dict[str, dict[str, Process]]:
    """By deployment, what pulls, what serves and what draws."""
    (cluster, compose, machine) = (Folders(folder / name) for name in ("kubernetes", "compose", "systemd"))
    manifests = Kubernetes(cluster, {"tintype": {}, "tintype-hub": {}})
    services, units = Compose(compose, {"HF_TOKEN": "hf_"}), Systemd(machine, {"/etc/tintype-hub.env": "HF_TOKEN=hf_"})
    return {
        "kubernetes": {
            "pulls": manifests.process("Job", "tintype-models"),
            "waits": manifests.process("Deployment", "tintype-worker", first=True),
            "serves": manifests.process("Deployment", "tintype-web"),
            "draws": manifests.process("Deployment", "tintype-worker"),
        },
        "compose": {
            "pulls": services.process("models"),
            "serves": services.process("web"),
            "draws": services.process("worker"),
        },
        "systemd": {"pulls": units.process("tintype-models"), "draws": units.process("tintype")},
    }


@pytest.mark.parametrize("name", ["kubernetes", "compose", "systemd"])
def test_what_is_pulled_is_what_is_drawn_with(name: str, tmp_path: Path) -> None:
    processes = deployments(tmp_path)[name]
    own = (DEPLOY / "models.toml").read_text().strip()
    assert all(Path(one.here("TINTYPE_MODELS_FILE")).read_text().strip() == own for one in processes.values())
    pulls, draws = processes["pulls"], processes["draws"]
    weights = [one.place("TINTYPE_MODELS_FOLDER", "TINTYPE_DATA") for one in (pulls, draws)]
    assert weights[0].here == weights[1].here
    # Of systemd, it is one user's folder, in which the server has its database too.
    assert [one.writable for one in weights] == [True, name == "systemd"]
    assert [who for who, one in processes.items() if "HF_TOKEN" in one.env] == ["pulls"]


def test_the_models_file_names_what_tintype_would_pull(tmp_path: Path) -> None:
    text = (DEPLOY / "models.toml").read_text()
    for_all = tmp_path / "models.toml"
    for_all.write_text(re.sub(r"^# (?=\[|source|revision)", "", text, flags=re.MULTILINE))
    entries = read_models_file(for_all).models
    assert list(entries) == ["sd1.5-img2img", "sd3-med-img2img"]
    for slug, entry in entries.items():
        assert (entry.source, entry.revision) == (SOURCES[slug].repository, SOURCES[slug].revision)


def found(kind: str, name: str) -> dict[str, Any]:
    [one] = [one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return one


def test_what_prometheus_reads_is_the_servers_own_port() -> None:
    monitor, service = found("ServiceMonitor", "tintype")["spec"], found("Service", "tintype")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint], [port] = monitor["endpoints"], service["spec"]["ports"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    web = found("Deployment", "tintype-web")["spec"]["template"]
    assert service["spec"]["selector"].items() <= web["metadata"]["labels"].items()
    assert port["targetPort"] in [one["name"] for one in web["spec"]["containers"][0]["ports"]]
    secret = endpoint["authorization"]["credentials"]
    assert secret["key"] in found("Secret", secret["name"])["stringData"]


def test_what_is_scaled_is_there() -> None:
    assert found("Deployment", found("ScaledObject", "tintype-worker")["spec"]["scaleTargetRef"]["name"])


def test_the_alerts_are_a_rule_of_the_prometheus_operator() -> None:
    head = "kubernetes/prometheus/prometheusrule.head.yaml"
    [command] = re.findall(r"^#   (\(cat .*\)) \| kubectl", TEXTS[head], re.MULTILINE)
    made = subprocess.run(["sh", "-c", command], cwd=DEPLOY.parent, check=True, capture_output=True, text=True).stdout
    rule = yaml.safe_load(made)
    assert (rule["kind"], rule["spec"]) == ("PrometheusRule", yaml.safe_load(TEXTS["alerts.yaml"]))
