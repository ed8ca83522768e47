"""A Ray cluster of a test's own on this machine: a head, and nodes that Ray's own autoscaler adds and removes.

The nodes are processes (Ray's `fake_multinode` provider), everything above them is what runs in production. One test
process has it at a time, since nodes find each other by addresses of the machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import psutil

#: Bytes of a node's object store: Ray's minimum. Nothing of ours goes through it.
STORE = 80 * 2**20
T = TypeVar("T")

LOCK = Path(tempfile.gettempdir()) / "tintype-ray.lock"
#: Seconds without the head after which nodes and clients give up: a minute is Ray's own.
PATIENCE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "10"}
#: How all its processes are told from others: it stands in their environment.
MARK = "TEST_RAY"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_niceness": "0",
    "RAY_enable_metrics_collection": "0",
    "OMP_NUM_THREADS": "1",
    **PATIENCE,
}


class RayHead:
    """A head without CPUs for actors, and up to `nodes` nodes, of one CPU and one GPU each, that come when needed."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder = folder
        self._port = _free_port()
        self._mark = uuid4().hex
        self._config = folder / "cluster.json"
        self.address = f"{_own_address()}:{self._port}"
        self._config.write_text(json.dumps(self._cluster(nodes)))

    def start(self) -> RayHead:
        """Start the head; the same port again after a crash."""
        options = ["--head", f"--port={self._port}", "--num-cpus=0", f"--temp-dir={self._folder}"]
        options += [f"--autoscaling-config={self._config}", f"--object-store-memory={STORE}"]
        options += ["--include-dashboard=false", "--disable-usage-stats"]
        env = {**os.environ, **QUIET, MARK: self._mark}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
        done = subprocess.run(command, env=env, check=False, capture_output=True, text=True, cwd=self._folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return self

    def run(self, script: str, **known: str) -> None:
        """Have a driver in tintype's namespace run this, with these names known to it."""
        begin = f"import ray; ray.init(address={self.address!r}, namespace='tintype', logging_level='ERROR')"
        names = [f"{name} = {value!r}" for name, value in known.items()]
        env = {**os.environ, **QUIET, MARK: self._mark}
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([begin, *names, script])],
            env=env,
            check=False,
            capture_output=True,
            text=True,
            cwd=self._folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        """Kill all that belongs to it, and nothing else."""
        while processes := self.processes():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=10)

    def kill_head(self) -> None:
        """SIGKILL to the head: its directory of actors, its autoscaler, its raylet; nodes are left to themselves."""
        nodes = {process.pid for process in self.nodes()}
        for process in self.processes():
            if _is_head(process, nodes):
                process.send_signal(signal.SIGKILL)

    def kill_node(self, process: psutil.Process) -> None:
        """SIGKILL to one node: its raylet, and all that runs below it, as when a machine is switched off."""
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()

    def nodes(self) -> list[psutil.Process]:
        """The raylets of the nodes that were added."""
        raylets = [one for one in self.processes() if _read(one.name) == "raylet"]
        return [one for one in raylets if (_read(one.environ) or {}).get("RAY_NODE_TYPE_NAME") == "worker"]

    def environments(self, word: str) -> list[dict[str, str]]:
        """Of the processes that have this word in their command."""
        named = [one for one in self.processes() if word in (_read(one.cmdline) or [])]
        return [found for one in named if (found := _read(one.environ))]

    def processes(self) -> list[psutil.Process]:
        """All of the cluster's processes, workers included."""
        return [one for one in psutil.process_iter() if (_read(one.environ) or {}).get(MARK) == self._mark]

    def _cluster(self, nodes: int) -> dict[str, Any]:
        # Ray deals out GPUs by number: a missing one only shows when it is used.
        room = {"CPU": 1, "GPU": 1, "object_store_memory": STORE}
        worker = {"resources": room, "node_config": {}, "max_workers": nodes}
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        return {
            "cluster_name": "test",
            "max_workers": nodes,
            "provider": {
                "type": "fake_multinode",
                "gcs_address": self.address,
                "disable_node_updaters": True,  # there is nothing to log into
                "use_node_id_as_ip": True,  # they all have this machine's address
            },
            "auth": {"ssh_user": "nobody"},
            "docker": {},
            **{f"{name}_commands": [] for name in lists},
            **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": 0.05,
            "head_node_type": "ray.head.default",
            "available_node_types": {"worker": worker, "ray.head.default": head},
        }


@contextmanager
def ray_head(nodes: int) -> Iterator[RayHead]:
    """A head that runs while the block lasts; waits while another test process has one."""
    # Not in pytest's own folder: a socket's path has at most 107 characters.
    with LOCK.open("w") as lock, tempfile.TemporaryDirectory(prefix="tt", ignore_cleanup_errors=True) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        head = RayHead(Path(folder), nodes)
        try:
            yield head.start()
        finally:
            head.stop()


def _read(what: Callable[[], T]) -> T | None:
    """What a process tells of itself; None if it has just gone."""
    with suppress(psutil.Error):
        return what()
    return None


def _is_head(process: psutil.Process, nodes: set[int]) -> bool:
    with suppress(psutil.NoSuchProcess):
        above = {process.pid, *(one.pid for one in process.parents())}
        return not above & nodes
    return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("", 0))
        return int(taken.getsockname()[1])


def _own_address() -> str:
    """The address under which Ray knows this machine: that of the way to the outside, if there is one."""
    from ray.util import get_node_ip_address  # noqa: PLC0415 - a second, which only these tests need

    return str(get_node_ip_address())
