"""A `systemctl` for tests: starts, restarts, reloads and stops what unit files say, all below one folder.

Of a unit it follows ExecStart, ExecStartPost, ExecReload, Environment, EnvironmentFile, StateDirectory, TimeoutStopSec,
and User for one that is always there; nothing of a service's confinement, and nobody restarts what ends.

    python systemctl.py FOLDER enable --now web@8001
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

#: What unit files and pages may name of a machine's own files.
OWN = re.compile(r"(?<![\w./-])/(?=(?:etc|backups|srv/weights|var/lib/tintype|opt/tintype|usr/local/bin/tintype)\b)")


class System:
    """The services of one machine, whose files lie below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, unit: str) -> None:
        """Start a service, unless it runs."""
        if self._pid(unit):
            return
        about = self._read(unit)
        for name in about.get("StateDirectory", []):
            (self.folder / "var/lib" / name).mkdir(parents=True, exist_ok=True)
        user = about["User"][0] if about.get("User", [""])[0] == "nobody" else None
        with self._place(unit, "log").open("a") as log:
            process = subprocess.Popen(
                shlex.split(about["ExecStart"][0]),
                env=self._environment(about),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                start_new_session=True,
            )
        self._place(unit, "pid").write_text(str(process.pid))
        for command in about.get("ExecStartPost", []):
            subprocess.run(shlex.split(command), check=True)

    def stop(self, unit: str) -> None:
        """SIGTERM, and wait for as long as the unit gives it; raises TimeoutError."""
        if not (pid := self._pid(unit)):
            return
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + float(self._read(unit).get("TimeoutStopSec", ["90"])[0])
        while self._pid(unit):
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError(f"{unit} did not end in time")
            time.sleep(0.05)

    def restart(self, unit: str) -> None:
        """Stop it, then start it."""
        self.stop(unit)
        self.start(unit)

    def reload(self, unit: str) -> None:
        """What its ExecReload says, to a service that runs."""
        command = self._read(unit)["ExecReload"][0].replace(
            "$MAINPID", str(self._pid(unit) or sys.exit(f"{unit} is off"))
        )
        subprocess.run(shlex.split(command), check=True)

    def stop_all(self) -> None:
        """Whatever was started and still runs."""
        for place in (self.folder / "run").glob("*.pid"):
            self.stop(place.stem)

    def _read(self, unit: str) -> dict[str, list[str]]:
        """A unit's directives, with the machine's own paths."""
        name, at, instance = unit.partition("@")
        text = (self.folder / f"etc/systemd/system/{name}{at}.service").read_text().replace("%i", instance)
        found: dict[str, list[str]] = {}
        for line in OWN.sub(f"{self.folder}/", text).splitlines():
            if line and line[0] not in "#[":
                directive, _, value = line.partition("=")
                found.setdefault(directive, []).append(value)
        return found

    def _environment(self, about: dict[str, list[str]]) -> dict[str, str]:
        """None of the caller's own, as with systemd; but for SERVICES, which the test has for all of them."""
        env = {"PATH": os.environ["PATH"]}
        env |= dict(part.split("=", 1) for part in os.environ.get("SERVICES", "").split())
        lines = [line for one in about.get("Environment", []) for line in shlex.split(one)]
        for file in about.get("EnvironmentFile", []):
            lines += shlex.split(Path(file.removeprefix("-")).read_text(), comments=True)
        return env | dict(line.split("=", 1) for line in lines)

    def _pid(self, unit: str) -> int | None:
        """The process of a service that runs; one that ended and that nobody waited for runs no more."""
        with suppress(FileNotFoundError, ProcessLookupError):
            pid = int(self._place(unit, "pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return None if state == "Z" else pid
        return None

    def _place(self, unit: str, kind: str) -> Path:
        return self.folder / "run" / f"{unit}.{kind}"


def main(folder: str, verb: str, *words: str) -> None:
    """One command."""
    system = System(Path(folder))
    units = [word for word in words if not word.startswith("--")]
    acts = {"start": system.start, "stop": system.stop, "restart": system.restart, "reload": system.reload}
    acts |= {"enable": system.start, "disable": system.stop}
    if verb == "daemon-reload":
        return
    if verb in ("enable", "disable") and "--now" not in words:
        return
    for unit in units:
        acts[verb](unit)


if __name__ == "__main__":
    main(*sys.argv[1:])
