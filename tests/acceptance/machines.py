"""Machines with shells for tests that type what a page says: each a network namespace with a name and a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.acceptance import systemctl
from tests.network_namespaces import Host

FOLDERS = ("etc/systemd/system", "usr/local/bin", "opt", "srv", "var/lib", "run", "root")


class Machine:
    """A root shell on a host of its own, in which blocks of commands are typed one after the other."""

    def __init__(self, name: str, host: Host, folder: Path, **env: str) -> None:
        self.name, self.folder = name, folder
        for inside in FOLDERS:
            (folder / inside).mkdir(parents=True)
        bin_folder = folder / "usr/local/bin"
        (bin_folder / "systemctl").write_text(f'#!/bin/sh\nexec {sys.executable} {systemctl.__file__} {folder} "$@"\n')
        (bin_folder / "systemctl").chmod(0o755)
        path = f"{bin_folder}:{os.environ['PATH']}:/usr/sbin"
        own = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "COLUMNS": "200", **env}
        with host.entered():
            command = ["unshare", "--uts", "bash", "-c", f"hostname {name} && exec bash -e -o pipefail"]
            self._shell = subprocess.Popen(
                command,
                cwd=folder / "root",
                env=own,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def here(self, text: str) -> str:
        """A text of the page with this machine's own paths."""
        return systemctl.OWN.sub(f"{self.folder}/", text)

    def write(self, path: str, content: str) -> None:
        """A file as written with an editor."""
        Path(self.here(path)).write_text(self.here(content))

    def run(self, commands: str) -> str:
        """Type commands; what they print. Fails where one of them does."""
        assert self._shell.stdin
        assert self._shell.stdout
        end = "the block has ended\n"
        self._shell.stdin.write(f"{{\n{self.here(commands)}\n}} </dev/null\necho {end}")
        self._shell.stdin.flush()
        said: list[str] = []
        while not said or not said[-1].endswith(end):
            said.append(self._shell.stdout.readline())
            assert said[-1], f"on {self.name}:\n{commands}\n\nsaid, and ended:\n{''.join(said)}{self.logs()}"
        return "".join(said).removesuffix(end)

    def logs(self) -> str:
        """The last lines of what its services have logged."""
        logs = sorted((self.folder / "run").glob("*.log"))
        return "".join(f"\n{log.name}:\n{''.join(log.read_text().splitlines(True)[-20:])}" for log in logs)

    def off(self) -> None:
        """End its services and its shell."""
        systemctl.System(self.folder).stop_all()
        self._shell.kill()
        self._shell.communicate()
