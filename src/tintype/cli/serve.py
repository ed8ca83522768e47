"""`tintype serve`, `worker` and `migrate`."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, cast, get_args

import click
import structlog
import uvicorn

from tintype.catalog.samples import LANDSCAPE
from tintype.cli.belonging import check_models, check_place, note_server, refuse_nothing
from tintype.cli.life import CALLERS, WORK, about
from tintype.cli.local import check_device, require_device
from tintype.cli.options import data_option, load_settings, open_database, require_ray
from tintype.cli.safety import check_safety_of_all
from tintype.cli.storage import check_storage, close_to_others
from tintype.errors import ConfigurationInvalid, Unauthorized
from tintype.fleet.children import Child, Children, hurry
from tintype.fleet.devices import absent, devices
from tintype.fleet.slots import worker_slots
from tintype.hub.registry import Registry, build_registry
from tintype.private import make_folder
from tintype.settings import Fleet, Settings
from tintype.store.accounts.accounts import Accounts
from tintype.store.billing.money import micro
from tintype.store.db.audit import act_as, actor
from tintype.store.db.database import Database
from tintype.store.ops.workers import new_id
from tintype.store.webhooks.subscriptions import Webhooks
from tintype.telemetry.logs import ProcessLog, set_up_logs
from tintype.web.shutdown import LAST_ANSWERS, Shutdown, WebServer
from tintype.webhooks import webhook_sender

log = structlog.get_logger()

#: `mallopt`'s name for the size in bytes from which a block is given back as soon as it is freed.
M_MMAP_THRESHOLD = -3
#: Seconds that a keeper has to stop: it only has to leave Ray.
KEEPER_GRACE = 5.0
#: Files that a process needs open at most, connections included.
MANY_FILES = 65_536
FILES = resource.RLIMIT_NOFILE


@click.command()
@click.option("--host", help="Address to listen on; 0.0.0.0 for every one of this machine's.")
@click.option("--port", type=int, help="Port to listen on; 0 for any free one.")
@data_option
@click.option("--fleet", type=click.Choice(get_args(Fleet)), help="Who starts workers: see above.")
@click.option("--billing/--no-billing", default=None, help="Hold and charge prices (the default), or nothing ever.")
def serve(host: str | None, port: int | None, data: Path | None, fleet: str | None, billing: bool | None) -> None:
    """Serve the API, with a fleet of workers.

    \b
    --fleet local   one worker process per device of this machine (the default)
    --fleet ray     as many workers as the queue needs, down to none, on the Ray cluster at TINTYPE_RAY_ADDRESS
    --fleet none    no workers: `tintype worker` or `tintype fleet` starts them, here or elsewhere

    \b
    Examples:
      tintype serve
      tintype serve --host 0.0.0.0 --port 80 --data /var/lib/tintype
      tintype serve --fleet none
      TINTYPE_BOOTSTRAP_KEY=SG_0123456789abcdef tintype serve
    """
    settings = load_settings(host=host, port=port, data=data, fleet=fleet, billing=billing)
    registry = build_registry(settings)
    if settings.fleet == "local":  # elsewhere, their machines have the weights
        registry.require(registry.catalogue)
        if settings.devices != "auto":
            check_devices("TINTYPE_DEVICES", devices(settings.devices))
    if settings.fleet == "ray":
        require_ray()
    set_up_logs(process="web")
    act_as(replace(actor(), logged=True))
    _return_memory()
    check_storage(settings)
    with open_database(settings, migrating=True, process="web") as db:
        close_to_others(settings)  # what is known to be ours by now, whatever file the settings name
        check_place(db, settings)
        check_safety_of_all(settings, db)
        listening = listen(settings.host, settings.port)
        port = listening.getsockname()[1]
        name, address = f"{socket.gethostname()}:{port}", _address(settings.host, port)
        note_server(db, registry, name)
        _first_key(db, settings, address)
        if settings.public_url:
            Webhooks(db, overlap=settings.webhook_overlap).forget_bases()
    server = web_server(settings, registry, name)
    life = ProcessLog(server=name, address=address, fleet=settings.fleet, **about(settings, CALLERS))

    def stop(number: int, frame: FrameType | None) -> None:
        life.stopping(number)
        server.handle_exit(number, frame)

    # From the start until the last worker has stopped: a signal counts throughout.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # Workers go on while calls wait for them, until the web's own grace is over. The senders end last: what workers
    # finish in their grace time can still be told.
    with life, webhook_sender(settings, name), _fleet(settings) as children:
        server.again = partial(hurry, children)
        click.echo(f"tintype is ready at {address}")
        if not server.should_exit:
            server.run(sockets=[listening])


def web_server(settings: Settings, registry: Registry, name: str = "") -> WebServer:
    """The HTTP server, with bounds for what its clients may take; not started. name: what the database knows it as."""
    # FastAPI takes half a second; other commands don't need it.
    from tintype.web.app import create_app  # noqa: PLC0415
    from tintype.web.connections import Bounds, Connections  # noqa: PLC0415
    from tintype.web.peers import is_proxy  # noqa: PLC0415

    shutdown = Shutdown()
    app = create_app(settings, registry, shutdown, name)
    files = raise_file_limit()
    bounds, counts = Bounds.of(settings, files), app.state.services.metrics.calls
    connections = Connections(bounds, lambda address: is_proxy(address, settings), counts, shutdown)
    config = uvicorn.Config(
        app,
        # On h11 whatever else is installed: by itself uvicorn prefers httptools, which loses the bodies of calls
        # that offer an upgrade, as Java's do.
        http=cast(Any, connections),
        ws="none",
        # How many are accepted at once, before any other is closed for them, or heard.
        backlog=max(16, min(64, files // 8)),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # Longer than proxies and clients keep a connection: who closes it first can't have just been sent a call.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=LAST_ANSWERS,
    )
    return WebServer(config, shutdown, drain=settings.web_drain, grace=settings.web_grace)


@click.command()
@click.option("--device", default="auto", show_default=True, help="cpu, cuda:0, …; auto is the first GPU, or the CPU.")
@click.option("--parent", type=int, hidden=True, help="The server's process; without it the worker ends.")
@click.option("--id", "worker_id", hidden=True, help="What the server calls it.")
@data_option
def worker(device: str, parent: int | None, worker_id: str | None, data: Path | None) -> None:
    """Run one worker: it claims requests until it is told to stop, or drained.

    \b
    Examples:
      tintype worker
      tintype worker --device cuda:1 --data /var/lib/tintype
    """
    from tintype.worker.main import run_worker  # noqa: PLC0415 - imports torch

    settings = load_settings(data=data)
    check_device(device)
    require_device(device)
    registry = build_registry(settings)
    registry.require(registry.catalogue)
    set_up_logs(process=f"worker {device}")
    act_as(replace(actor(), logged=True))
    raise_file_limit()
    refuse_nothing(settings)
    check_storage(settings)
    with open_database(settings, migrating=True, process="worker") as db:
        close_to_others(settings)
        check_place(db, settings)
        check_models(db, registry)
        check_safety_of_all(settings, db)
    # Read by torch's compiler, if it is ever used (TINTYPE_PREPARE), when it is imported.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(settings.prepared_folder.absolute()))
    if settings.prepare != "off":
        make_folder(settings.prepared_folder)
    run_worker(settings, registry, device, parent, worker_id or new_id(), about(settings, WORK) | {"parent": parent})


@click.command()
@data_option
def migrate(data: Path | None) -> None:
    """Bring the database's schema up to date (`serve` and `worker` do it too).

    \b
    Example:
      tintype migrate --data /var/lib/tintype
    """
    with open_database(load_settings(data=data), migrating=True):
        click.echo("the database is up to date")


def check_devices(setting: str, names: Sequence[str]) -> None:
    """Raise InvalidParameter or ConfigurationInvalid unless these are devices, and this machine has them."""
    for name in names:
        check_device(name, setting)
    if missing := absent(names):
        raise ConfigurationInvalid(f"{setting}: torch finds no {', '.join(missing)} on this machine")


#: What to do where a port can't be had.
LISTENING = {
    errno.EADDRINUSE: "; another program, or another tintype, has it: --port (TINTYPE_PORT) names another one",
    errno.EADDRNOTAVAIL: "; --host (TINTYPE_HOST) is one of this machine's own addresses, or 0.0.0.0 for all of them",
    errno.EACCES: "; below 1024 only root may listen: --port (TINTYPE_PORT) names another one",
}


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that the port is known before anything starts; exits with one line when it is taken."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = f"{error.strerror}".partition(" (while")[0]  # socket's own addition says the address once more
        sys.exit(f"tintype: can't listen on {host}:{port}: {why}{LISTENING.get(error.errno or 0, '')}")
    # Connections inherit it. asyncio sets it only where a socket says that it is TCP's, which this one doesn't; without
    # it, the second answer on a connection waits 40 ms for the client's acknowledgement of the first packet.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def raise_file_limit() -> int:
    """Let this process and its children have as many files open as they may, connections included; how many."""
    soft, hard = (MANY_FILES if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(FILES))
    # Beyond MANY_FILES, programs that close all possible ones before they run others take their time.
    raised = max(soft, min(hard, MANY_FILES))
    if raised > soft:
        resource.setrlimit(FILES, (raised, resource.getrlimit(FILES)[1]))
    return raised


def _first_key(db: Database, settings: Settings, address: str) -> None:
    """Give an empty server its first account, and say how to use it; the key is never shown again."""
    given = settings.bootstrap_key.get_secret_value()
    accounts = Accounts(db)
    secret = accounts.bootstrap("first", micro(settings.bootstrap_credits), given or None)
    if given and secret is None:
        _check_bootstrap_key(accounts, given)
    if secret is None or given:
        return
    click.echo(
        f"\nA first account with ${settings.bootstrap_credits:g} was made. Its key, shown this once:\n\n  {secret}\n\n"
        f"Open {address} in a browser and paste it there, or try it here:\n\n"
        f"  curl {address}/v1/sd1.5-img2img -H 'x-api-key: {secret}' \\\n"
        f"    -H 'content-type: application/json' \\\n"
        f"""    -d '{{"prompt": "a mystical sky", "image": "{LANDSCAPE.path}"}}' -o picture.jpeg\n"""
    )


def _check_bootstrap_key(accounts: Accounts, given: str) -> None:
    """Say so where TINTYPE_BOOTSTRAP_KEY doesn't work: it is only for a server without any key."""
    try:
        accounts.authenticate(given)
    except Unauthorized as error:
        log.warning(
            "TINTYPE_BOOTSTRAP_KEY was ignored, and does not work: this database has keys already",
            why=error.message,
            instead="tintype keys create --operator",
        )


def _return_memory() -> None:
    """Have freed bodies and pictures go back to the system, where the C library would keep most of their memory.

    glibc raises its own limit to the largest block that was freed, up to 32 MB, and keeps what is smaller.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, 2**20)


def _address(host: str, port: int) -> str:
    """The server's URL; an IPv6 address stands in brackets in it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _fleet(settings: Settings) -> AbstractContextManager[Sequence[Child]]:
    """The child processes that the fleet takes, kept alive while the block lasts."""
    env = _child_environment(os.environ)
    if settings.fleet == "local":
        commands = [[*_command(settings, "worker"), "--device", device] for device in devices(settings.devices)]
        return worker_slots(commands, env, worker_grace(settings), settings.database)
    keepers = [Child("keeper", _command(settings, "fleet"), env)] if settings.fleet == "ray" else []
    return Children(keepers, KEEPER_GRACE)


def worker_grace(settings: Settings) -> float:
    """Seconds after which a worker that was told to stop is killed."""
    return settings.grace + 5


def _command(settings: Settings, name: str) -> list[str]:
    own = ["--data", str(settings.data.absolute()), "--parent", str(os.getpid())]
    return [sys.executable, "-m", "tintype", name, *own]


def _child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours, without the secret that a child has no use for."""
    return {name: value for name, value in environment.items() if name != "TINTYPE_BOOTSTRAP_KEY"}
