"""What the files under deploy/ run, taken from themselves: commands, environment, and folders in place of volumes.

No container engine is needed: a mount is a folder of the test's, and its path is put in where the files name theirs.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
#: `${NAME}`, `${NAME:-otherwise}`, `${NAME:?}` of a compose file.
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
#: Put on PYTHONPATH: notes every path that Python opens to write, makes, renames or removes.
HOOK = """
import os, sys
_note = os.open(os.environ["WRITES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_ABOUT = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
def _hook(event, args):
    if event == "open":
        path, mode, flags = args
        if isinstance(path, (str, bytes)) and (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(_note, os.path.abspath(os.fsencode(path)) + b"\\n")
    elif event in _ABOUT and isinstance(args[0], (str, bytes, os.PathLike)):
        os.write(_note, os.path.abspath(os.fsencode(args[0])) + b"\\n")
sys.addaudithook(_hook)
"""


@dataclass(frozen=True)
class Mount:
    """A folder, or file, at a path of the container's."""

    here: Path
    writable: bool = True


@dataclass(frozen=True)
class Process:
    """One command as a deployment runs it, with the paths of its own world."""

    command: list[str]
    env: dict[str, str]
    mounts: dict[str, Mount]

    def here(self, name: str) -> str:
        """A setting that is a path, as it is here."""
        return self._here(self.env[name])

    def place(self, *names: str) -> Mount:
        """The mount that the first of these settings means that there is, or the folder of `--data`."""
        path = next((self.env[name] for name in names if name in self.env), self.command[-1])
        return next(mount for at, mount in sorted(self.mounts.items(), reverse=True) if path.startswith(at))

    @contextmanager
    def running(self, note: Path, **others: str) -> Iterator[subprocess.Popen[str]]:
        """It runs while the block lasts, with no more of this machine than its mounts; others: what differs here.

        note: a file that is told what is written.
        """
        hook = note.parent / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOOK)
        own = {name: self._here(value) for name, value in self.env.items()} | others
        world = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        world |= {"TMPDIR": str(self.mounts["/tmp"].here), "PYTHONPATH": str(hook), "WRITES": str(note)}
        command = [sys.executable, "-m", *(self._here(word) for word in self.command)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=world | own, cwd="/", **pipes) as started:
            try:
                yield started
            finally:
                started.terminate()

    def elsewhere(self, note: Path) -> set[str]:
        """What it wrote that no mount may take."""
        taken = [str(mount.here) for mount in self.mounts.values() if mount.writable]
        wrote = set(note.read_text().splitlines()) - {"/dev/null", os.devnull}
        # What a process says of itself to the kernel is no file; /dev/shm is a container's own memory.
        return {path for path in wrote if not path.startswith((*taken, "/proc/self/", "/dev/shm/"))}

    def _here(self, text: str) -> str:
        """A path of its world, as it is here."""
        for path, mount in sorted(self.mounts.items(), reverse=True):
            if text == path or text.startswith(f"{path}/"):
                return str(mount.here) + text.removeprefix(path)
        return text


class Folders:
    """Volumes of a deployment: each a folder of that name, made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._own = 0

    def named(self, name: str) -> Path:
        """A volume that lasts, and that others have too."""
        folder = self._root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def own(self, name: str) -> Path:
        """One that nobody else has."""
        self._own += 1
        return self.named(f"{name}-{self._own}")


def image() -> dict[str, str]:
    """The environment that the image brings."""
    [line] = re.findall(r"^ENV (PATH=.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    return {
        name: value for name, _, value in (one.partition("=") for one in line.split()) if name.startswith("TINTYPE")
    }


class Kubernetes:
    """The manifests; `secrets` has, by secret and name, what an operator fills in."""

    def __init__(self, folders: Folders, secrets: Mapping[str, Mapping[str, str]]) -> None:
        texts = [path.read_text() for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))]
        self.objects = [one for text in texts for one in yaml.safe_load_all(text)]
        self._folders = folders
        self._secrets = secrets

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """One of the objects."""
        [found] = [one for one in self.objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
        return dict(found)

    def process(self, kind: str, name: str, *, first: bool = False) -> Process:
        """The container of a workload, or the one that runs before it."""
        pod = self.find(kind, name)["spec"]["template"]["spec"]
        [container] = pod["initContainers" if first else "containers"]
        volumes = {one["name"]: one for one in pod["volumes"]}
        mounts = {one["mountPath"]: self._mount(volumes[one["name"]], one) for one in container["volumeMounts"]}
        env = image()
        for source in container.get("envFrom", []):
            env |= self._settings(source)
        return Process(container["args"], env, mounts)

    def _settings(self, source: dict[str, Any]) -> dict[str, str]:
        if "configMapRef" in source:
            return dict(self.find("ConfigMap", source["configMapRef"]["name"])["data"])
        name = source["secretRef"]["name"]
        return {**self.find("Secret", name)["stringData"], **self._secrets[name]}

    def _mount(self, volume: dict[str, Any], mount: dict[str, Any]) -> Mount:
        if claimed := volume.get("persistentVolumeClaim"):
            self.find("PersistentVolumeClaim", claimed["claimName"])
            read_only = mount.get("readOnly", False) or claimed.get("readOnly", False)
            return Mount(self._folders.named(claimed["claimName"]), not read_only)
        folder = self._folders.own(volume["name"])
        if "configMap" in volume:
            for name, text in self.find("ConfigMap", volume["configMap"]["name"])["data"].items():
                (folder / name).write_text(text)
        return Mount(folder, not mount.get("readOnly", False))


class Compose:
    """The compose file; `variables` are those of the shell that `docker compose` is called in."""

    def __init__(self, folders: Folders, variables: Mapping[str, str]) -> None:
        text = VARIABLE.sub(
            lambda found: variables.get(found[1]) or found[3] or "", (DEPLOY / "compose.yaml").read_text()
        )
        self.file = yaml.safe_load(text)
        self._folders = folders

    def process(self, name: str) -> Process:
        """One service."""
        service = self.file["services"][name]
        mounts = {"/tmp": Mount(self._folders.own("tmp"))}
        assert service["read_only"]
        assert service["tmpfs"] == ["/tmp:size=1g"]
        for one in service["volumes"]:
            volume, path, *mode = one.split(":") if ":" in one else ("", one)
            assert not volume or volume in self.file["volumes"]
            folder = self._folders.named(volume) if volume else self._folders.own("volume")
            mounts[path] = Mount(folder, mode != ["ro"])
        for one in service["configs"]:
            mounts[one["target"]] = Mount(DEPLOY / self.file["configs"][one["source"]]["file"], writable=False)
        return Process(service["command"], image() | service["environment"], mounts)


class Systemd:
    """The units; `files` are those of /etc that they name."""

    def __init__(self, folders: Folders, files: Mapping[str, str]) -> None:
        self._folders = folders
        self._files = files

    def process(self, name: str) -> Process:
        """One unit's command; a unit may write nothing but its own folders (ProtectSystem=strict, PrivateTmp)."""
        lines = [line.partition("=") for line in (DEPLOY / f"{name}.service").read_text().splitlines()]
        said = [(key, value) for key, _, value in lines if not key.startswith("#")]
        assert {("ProtectSystem", "strict"), ("PrivateTmp", "yes"), ("User", "tintype")} <= set(said)
        env = dict(value.split("=", 1) for key, value in said if key == "Environment")
        for file in [value.removeprefix("-") for key, value in said if key == "EnvironmentFile"]:
            env |= dict(line.split("=", 1) for line in self._files.get(file, "").splitlines())
        mounts = {
            "/tmp": Mount(self._folders.own("tmp")),
            "/etc/tintype/models.toml": Mount(DEPLOY / "models.toml", writable=False),
            **{
                f"/var/lib/{value}": Mount(self._folders.named("lib")) for key, value in said if key == "StateDirectory"
            },
            **{
                f"/var/cache/{value}": Mount(self._folders.named("cache"))
                for key, value in said
                if key == "CacheDirectory"
            },
        }
        [command] = [shlex.split(value) for key, value in said if key == "ExecStart"]
        assert command[0] == "/opt/tintype/bin/tintype"
        return Process(["tintype", *command[1:]], env, mounts)
