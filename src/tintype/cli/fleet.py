"""`tintype fleet`: the keeper of a Ray fleet, as `serve --fleet ray` runs it, or by itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import click

from tintype.cli.belonging import check_place
from tintype.cli.life import FLEET, about
from tintype.cli.options import data_option, load_settings, open_database, require_ray
from tintype.cli.storage import check_storage
from tintype.errors import StoreUnavailable
from tintype.fleet.actor import Orders
from tintype.fleet.keeper import Keeper
from tintype.fleet.rule import Bounds
from tintype.settings import Settings
from tintype.store.ops.autoscaler import Lead, fleet_name
from tintype.store.ops.workers import new_id
from tintype.telemetry.logs import ProcessLog, set_up_logs

#: Seconds between two looks.
LOOK = 1.0
#: Seconds after which another takes over from a keeper that died.
LEASE = 15.0
#: How the variables are called that workers on other machines must be given: settings, keys of the storage, traces.
HANDED_ON = ("TINTYPE_", "AWS_", "OTEL_")
NO_BOUNDS = Bounds(least=0, most=0, wait=1, cooldown=0)


@click.command()
@click.option("--down", is_flag=True, help="Let every worker finish what it has and go, then end.")
@click.option("--parent", type=int, hidden=True, help="The server's process; without it the keeper ends.")
@data_option
def fleet(down: bool, parent: int | None, data: Path | None) -> None:
    """Keep a Ray cluster's workers as many as the queue needs; several keepers take turns, and one leads.

    It stops at SIGTERM or Ctrl+C, or when Ray's head dies, and leaves the workers as they are: the next keeper finds
    them. `serve --fleet ray` runs one by itself.

    \b
    Examples:
      tintype fleet
      TINTYPE_RAY_GPUS=0.5 TINTYPE_FLEET_MAX=8 tintype fleet
      tintype fleet --down
    """
    settings = load_settings(data=data)
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    from tintype.fleet.cluster import RayCluster  # noqa: PLC0415 - an extra, and a second to import

    set_up_logs(process="fleet")
    share = (settings.ray_gpus, settings.ray_cpus)
    check_storage(settings)
    opened = open_database(settings, making=True, quiet=False, process="fleet")
    with opened as db, ProcessLog(fleet="ray", **about(settings, FLEET)) as life:
        check_place(db, settings)  # its workers are given the same storage
        where = (settings.ray_address, settings.ray_namespace, fleet_name(db))
        cluster = RayCluster(*where, *share, orders(settings, os.environ))
        lead = Lead(db, new_id(), LEASE)
        try:
            _keep(Keeper(db, lead, cluster, NO_BOUNDS if down else bounds(settings)), down, parent, life)
        except ConnectionError as error:
            raise click.ClickException(
                f"there is no Ray cluster at {settings.ray_address}: `ray start --head` starts one here, "
                "and TINTYPE_RAY_ADDRESS names another"
            ) from error
        finally:
            lead.leave()
    cluster.close()


def _keep(keeper: Keeper, down: bool, parent: int | None, life: ProcessLog) -> None:
    """Look again and again until told to stop, or until nothing is left where that is wanted."""
    stop = threading.Event()

    def end(number: int, _frame: object) -> None:
        life.stopping(number)
        stop.set()

    while not stop.is_set() and parent in (None, os.getppid()):
        try:
            if keeper.look() == 0 and down:
                return
        except StoreUnavailable:
            pass  # it looks again
        # Ours again after every look: Ray puts its own in their place when it is connected to.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        stop.wait(LOOK)
    life.stopping("its parent is gone")


def bounds(settings: Settings) -> Bounds:
    """The operator's, for the rule."""
    return Bounds(settings.fleet_min, settings.fleet_max, settings.fleet_wait, settings.fleet_cooldown)


def orders(settings: Settings, environment: Mapping[str, str]) -> Orders:
    """What this fleet's workers are started with; the secret that they have no use for stays here."""
    env = {name: value for name, value in environment.items() if name.startswith(HANDED_ON)}
    env.pop("TINTYPE_BOOTSTRAP_KEY", None)
    if 0 < settings.ray_gpus < 1:
        env.setdefault("TINTYPE_MEMORY_SHARE", str(settings.ray_gpus))
    return Orders(str(settings.data.absolute()), settings.database, settings.grace + 5, env)
