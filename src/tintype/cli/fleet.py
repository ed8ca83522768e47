"""`tintype fleet`: the autoscaler of a Ray fleet, as `serve --fleet ray` runs it, or alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import click

from tintype.cli.database import open_store
from tintype.cli.options import data_option, load_all, require_ray
from tintype.cli.serve import worker_grace
from tintype.cli.sources import NOT_HANDED_ON, Configuration, variables
from tintype.cli.startup import FLEET_LIMITS, start_fields
from tintype.cli.storage import check_same_storage, check_storage
from tintype.errors import StoreUnavailable
from tintype.fleet.actor import WorkerLaunch
from tintype.fleet.autoscaler import Autoscaler
from tintype.fleet.scaling import ScalingPolicy
from tintype.settings import Settings
from tintype.store.ops.autoscaler import fleet_name
from tintype.store.ops.processes import new_id
from tintype.telemetry.logs import ProcessLog, set_up_logs

#: Seconds between two polls.
POLL = 1.0
#: Seconds after which another autoscaler takes over from one that died.
LEASE = 15.0
#: Prefixes of the variables that workers on other machines are given in addition to settings: the storage's, traces'.
PASSED_ON = ("AWS_", "OTEL_")
NO_WORKERS = ScalingPolicy(min_workers=0, max_workers=0, target_wait=1, cooldown=0)


@click.command()
@click.option("--down", is_flag=True, help="Let every worker finish its requests and leave, then end.")
@click.option("--parent", type=int, hidden=True, help="The server's process; without it the autoscaler ends.")
@data_option
def fleet(down: bool, parent: int | None, data: Path | None) -> None:
    """Scale a Ray cluster's workers with the queue.

    Of several autoscalers on one database, one leads at a time. It stops at SIGTERM or Ctrl+C, or when Ray's head dies,
    and leaves the workers running: the next one finds them.
    `serve --fleet ray` runs one itself.

    \b
    Examples:
      tintype fleet
      TINTYPE_RAY_GPUS=0.5 TINTYPE_FLEET_MAX=8 tintype fleet
      tintype fleet --down
    """
    loaded = load_all(data=data)
    settings = loaded.settings
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
    from tintype.fleet.cluster import RayCluster  # noqa: PLC0415 - an extra, and a second to import

    set_up_logs(process="fleet")
    check_storage(settings)
    opened = open_store(settings, making=True, quiet=False, process="fleet")
    with opened as store, ProcessLog(fleet="ray", **start_fields(settings, FLEET_LIMITS)) as process_log:
        check_same_storage(store.db, settings)  # its workers are given the same storage
        cluster = RayCluster(settings.fleet, fleet_name(store.db), worker_launch(loaded, os.environ))
        lease = store.ops.leader_lease(new_id(), LEASE)
        try:
            autoscaler = Autoscaler(store, lease, cluster, NO_WORKERS if down else _policy(settings))
            _run(autoscaler, down, parent, process_log)
        except ConnectionError as error:
            raise click.ClickException(
                f"there is no Ray cluster at {settings.fleet.ray_address}: `ray start --head` starts one here, "
                "and TINTYPE_RAY_ADDRESS names another"
            ) from error
        finally:
            lease.release()
    cluster.close()


def _run(autoscaler: Autoscaler, down: bool, parent: int | None, process_log: ProcessLog) -> None:
    """Reconcile every POLL seconds until told to stop; with `down`, until no actor is left."""
    stop = threading.Event()

    def end(number: int, _frame: object) -> None:
        process_log.stopping(number)
        stop.set()

    while not stop.is_set() and parent in (None, os.getppid()):
        try:
            if autoscaler.reconcile() == 0 and down:
                return
        except StoreUnavailable:
            pass  # retried at the next poll
        # Set again after every poll: Ray replaces them with its own when it connects.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        stop.wait(POLL)
    process_log.stopping("its parent is gone")


def _policy(settings: Settings) -> ScalingPolicy:
    return ScalingPolicy(
        settings.fleet.min_workers, settings.fleet.max_workers, settings.fleet.target_wait, settings.fleet.cooldown
    )


def worker_launch(loaded: Configuration, environment: Mapping[str, str]) -> WorkerLaunch:
    """What this fleet's workers are started with; the first key's secret, which they don't need, is left out."""
    settings = loaded.settings
    env = {name: value for name, value in environment.items() if name.startswith(PASSED_ON)}
    env |= variables(loaded, without=NOT_HANDED_ON)
    if 0 < settings.fleet.ray_gpus < 1:
        env.setdefault("TINTYPE_MEMORY_SHARE", str(settings.fleet.ray_gpus))
    return WorkerLaunch(str(settings.data.absolute()), settings.sqlalchemy_url, worker_grace(settings), env)
