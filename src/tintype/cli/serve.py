"""`tintype serve` and `tintype worker`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import get_args

import click

from tintype.cli import startup
from tintype.cli.local import check_device, require_device
from tintype.cli.options import config_file, data_option, load_all, load_settings, require_openvino, require_ray
from tintype.cli.sources import NOT_HANDED_ON, Configuration, variables
from tintype.cli.web_server import ServerSocket, listen, return_memory, web_server
from tintype.errors import ConfigurationInvalid
from tintype.fleet.devices import devices, missing_devices
from tintype.fleet.supervisor import ChildProcess, Supervisor, run_workers, terminate
from tintype.hub.registry import Registry, build_registry
from tintype.private import make_folder
from tintype.settings import Settings, overlaid
from tintype.settings.groups import Fleet
from tintype.store.ops.processes import new_id
from tintype.telemetry.logs import ProcessLog
from tintype.webhooks import webhook_sender

#: Seconds that an autoscaler has to stop: it only disconnects from Ray.
AUTOSCALER_GRACE = 5.0
STDOUT = 1
#: Printed at a signal: what still runs may take its grace.
STOPPING = b"tintype is stopping; a second signal (Ctrl+C) ends what still runs\n"


@click.command()
@click.option("--host", help="Address to listen on; 0.0.0.0 for every one of this machine's.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 for any free one.  [default: 8000]")
@data_option
@click.option("--fleet", type=click.Choice(get_args(Fleet)), help="What starts workers.  [default: local]")
@click.option("--billing/--no-billing", default=None, help="Hold and charge prices, or never.  [default: --billing]")
def serve(host: str | None, port: int | None, data: Path | None, fleet: str | None, billing: bool | None) -> None:
    """Serve the API, with a fleet of workers.

    \b
    --fleet local   one worker process per device of this machine
    --fleet ray     as many workers as the queue needs, down to none, on the
                    Ray cluster at TINTYPE_RAY_ADDRESS
    --fleet none    none: `tintype worker` or `tintype fleet` starts them

    Each default is that of the environment variable of the option's name, such
    as TINTYPE_PORT, where that is set.

    \b
    Examples:
      tintype serve
      tintype serve --host 0.0.0.0 --port 80 --data /var/lib/tintype
      tintype serve --fleet none
      TINTYPE_BOOTSTRAP_KEY=SG_0123456789abcdef tintype serve
    """
    loaded = load_all(host=host, port=port, data=data, fleet=fleet, billing=billing)
    settings = loaded.settings
    registry = build_registry(settings)
    _check_fleet(settings, registry)
    startup.begin("web")
    return_memory()
    with startup.join_store(settings, process="web") as store:
        startup.check_all_safety(settings, store)
        startup.check_marking(settings, store)
        listener = listen(settings.web.host, settings.web.port, startup.serving(store))
        startup.warn_of_servers(store, listener.name)
        startup.register_server(store, registry, listener.name)
        startup.first_key(store, settings, settings.web.public_url.rstrip("/") or listener.local_url)
        if settings.web.public_url:
            store.webhooks.drop_base_urls()
    _run(loaded, registry, listener)


@click.command()
@click.option("--device", default="auto", show_default=True, help="cpu, cuda:0, …; auto is the first GPU, or the CPU.")
@click.option("--parent", type=int, hidden=True, help="The server's process; without it the worker ends.")
@click.option("--id", "worker_id", hidden=True, help="Its id in the store.")
@data_option
def worker(device: str, parent: int | None, worker_id: str | None, data: Path | None) -> None:
    """Run one worker, until it is told to stop, or drained.

    \b
    Examples:
      tintype worker
      tintype worker --device cuda:1 --data /var/lib/tintype
    """
    from tintype.worker.main import run_worker  # noqa: PLC0415 - imports torch

    settings = load_settings(data=data)
    check_device(device)
    require_device(device)
    require_openvino(settings)
    registry = build_registry(settings)
    registry.require(registry.served)
    startup.begin(f"worker {device}")
    startup.raise_file_limit()
    startup.require_database(settings)
    with startup.join_store(settings, process="worker") as store:
        startup.check_models(store, registry)
        startup.check_all_safety(settings, store)
        startup.check_marking(settings, store)
    # Read by torch's compiler when it is imported, even if it is never used (TINTYPE_PREPARE); torch would make the
    # folder for all to read.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(settings.prepared_folder.absolute()))
    make_folder(settings.prepared_folder)
    about = startup.start_fields(settings, startup.WORKER_LIMITS) | {"parent": parent}
    run_worker(settings, registry, device, parent, worker_id or new_id(), about)


def worker_grace(settings: Settings) -> float:
    """Seconds after which a worker that was told to stop is killed."""
    return settings.worker.grace + 5


def _check_fleet(settings: Settings, registry: Registry) -> None:
    """Raise where the workers that this server starts would lack weights, a device, or Ray."""
    if settings.fleet.kind == "local":  # another fleet's machines have the weights
        require_openvino(settings)
        registry.require(registry.served)
        if settings.fleet.devices != "auto":
            _check_devices("TINTYPE_DEVICES", devices(settings.fleet.devices))
    if settings.fleet.kind == "ray":
        require_ray()


def _check_devices(setting: str, names: Sequence[str]) -> None:
    """Raise InvalidParameter or ConfigurationInvalid unless these are devices of this machine."""
    for name in names:
        check_device(name, setting)
    if missing := missing_devices(names):
        raise ConfigurationInvalid(f"{setting}: torch finds no {', '.join(missing)} on this machine")


def _run(loaded: Configuration, registry: Registry, listener: ServerSocket) -> None:
    """Serve until a signal, and until workers and webhook senders have stopped."""
    settings = loaded.settings
    server = web_server(settings, registry, listener.name)
    limits = startup.start_fields(settings, startup.WEB_LIMITS)
    process_log = ProcessLog(server=listener.name, address=listener.url, fleet=settings.fleet.kind, **limits)

    def stop(number: int, frame: FrameType | None) -> None:
        process_log.stopping(number)
        if not server.should_exit:
            with suppress(OSError):
                os.write(STDOUT, STOPPING)  # not by click: the signal may have come while its buffer was written
        server.handle_exit(number, frame)

    # From before the first worker starts until the last one has stopped.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # Workers run while calls wait for them, until the web server's own grace is over. The senders stop last: they send
    # what workers finish in their grace.
    with process_log, webhook_sender(settings, listener.name), _fleet(loaded) as children:
        server.again = partial(terminate, children)
        click.echo(f"tintype is ready at {listener.url}")
        if not server.should_exit:
            server.run(sockets=[listener.socket])
    click.echo("tintype has stopped")


def _fleet(loaded: Configuration) -> AbstractContextManager[Sequence[ChildProcess]]:
    """The child processes of the fleet, kept alive within the block."""
    settings, (config, env) = loaded.settings, child_settings(loaded, os.environ)
    if settings.fleet.kind == "local":
        command = _command(settings, "worker", config)
        commands = [[*command, "--device", device] for device in devices(settings.fleet.devices)]
        return run_workers(commands, env, worker_grace(settings), settings.sqlalchemy_url)
    own = [ChildProcess("autoscaler", _command(settings, "fleet", config), env)] if settings.fleet.kind == "ray" else []
    return Supervisor(own, AUTOSCALER_GRACE)


def _command(settings: Settings, name: str, config: list[str]) -> list[str]:
    options = ["--data", str(settings.data.absolute()), "--parent", str(os.getpid())]
    return [sys.executable, "-m", "tintype", *config, name, *options]


def child_settings(loaded: Configuration, environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The options and the environment that give a child process these settings, without the first key's secret.

    What a pipe said (`--config <(…)`) is in the environment: it can't be read a second time.
    """
    env = {name: value for name, value in environment.items() if not name.upper().startswith("TINTYPE_BOOTSTRAP_KEY")}
    if loaded.file and not loaded.file.is_file():
        return ["--config", os.devnull], overlaid(env, variables(loaded, without=NOT_HANDED_ON))
    return ["--config", str(file.absolute())] if (file := config_file()) else [], env
