"""Whether a process belongs to its database: which storages are the same, whatever they are called."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from tests.acceptance.harness import done, here, words
from tests.acceptance.test_schema import downgrade
from tests.databases import Databases, statements
from tests.object_storage import ObjectStorage, object_storage
from tests.stores import new_request, store_on

from tintype import __version__
from tintype.catalog.models import MODELS
from tintype.cli.startup import check_models, register_server, serving, warn_of_servers
from tintype.cli.storage import check_same_storage
from tintype.cli.web_server import listen
from tintype.errors import ConfigurationInvalid
from tintype.hub.registry import Registry, build_registry
from tintype.media.objects import bucket, open_bucket
from tintype.media.storage_id import ID_FILE, read_storage_id
from tintype.settings import Settings
from tintype.store.accounts.accounts import Accounts
from tintype.store.db import facts
from tintype.store.db.database import Database, now, read_clock
from tintype.store.db.migrations import migrate
from tintype.store.db.tables import servers
from tintype.store.ops.processes import SERVER_ALIVE, Servers, Workers

TOGETHER = 4
#: For a storage that is away: one that is there may need longer.
HASTY = {"storage_patience": 0.2}


@pytest.fixture(scope="module")
def bucket_of() -> Iterator[ObjectStorage]:
    with object_storage() as storage:
        yield storage


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], Database]]:
    """Opens the database, as processes of their own would."""
    made: list[Database] = []

    def open() -> Database:
        made.append(Database(url))
        return made[-1]

    yield open
    for db in made:
        db.close()


@pytest.fixture
def db(opened: Callable[[], Database]) -> Database:
    return opened()


def known(db: Database) -> dict[str, str]:
    with db.read() as view:
        return facts.read(view, facts.STORAGE) or {}


def in_bucket(storage: ObjectStorage, prefix: str, **changes: object) -> Settings:
    own = {"storage_url": f"s3://pictures/{prefix}"} if prefix else {}
    return Settings.of(**{**storage.settings, **own, **changes})


def refused(db: Database, settings: Settings) -> str:
    with pytest.raises(ConfigurationInvalid) as raised:
        check_same_storage(db, settings)
    assert "\n" not in raised.value.message
    return raised.value.message


def test_the_first_to_come_is_remembered_and_others_are_told_apart(
    db: Database, url: str, bucket_of: ObjectStorage, tmp_path: Path
) -> None:
    own = in_bucket(bucket_of, "first", database_url=url, data=tmp_path)
    check_same_storage(db, own)
    first = known(db)
    assert first["id"] == read_storage_id(own)
    assert first["place"] == f"s3://pictures/first at http://127.0.0.1:{bucket_of.port}"
    again = in_bucket(bucket_of, "first/", storage_endpoint=f"http://localhost:{bucket_of.port}")
    check_same_storage(db, again)
    assert known(db) == first, "the name by which it was first known stays"

    none = refused(db, Settings.of(database_url=url, data=tmp_path))
    assert none.startswith(
        f"the database's pictures are in {first['place']}, and this process's would go to the folder"
    )
    assert f"{tmp_path} on " in none
    assert "set TINTYPE_STORAGE_URL" in none
    other = refused(db, in_bucket(bucket_of, "second"))
    assert "would go to s3://pictures/second at" in other
    assert "as the servers have them" in other
    for said in (none, other):
        assert "tintype storage adopt" in said
        assert "secret" not in said
    assert not [*tmp_path.glob(ID_FILE)]
    assert read_storage_id(in_bucket(bucket_of, "second")) is None, "what is refused leaves no trace"


def test_an_upgraded_database_takes_the_storage_that_it_finds(empty_url: str, tmp_path: Path) -> None:
    """With a request in it, which is then claimed."""
    db = Database(empty_url)
    migrate(db)
    accounts, store = Accounts(db), store_on(db, lease=15, retention=60)
    key, _ = accounts.keys.create(accounts.create("one", 1_000_000).id, "key")
    waits = store.queue.submit(
        new_request(key, "sd1.5-img2img", {"prompt": "a fox"}, 1_000, steps=4, speed_key="sd1.5-img2img 18 1")
    )
    downgrade(db, "0018")
    migrate(db)
    check_same_storage(db, own := Settings.of(database_url=empty_url, data=tmp_path))
    assert known(db)["id"] == read_storage_id(own)
    claimed = store.leases.claim("w1", idle=True)
    assert claimed is not None
    assert (claimed.id, accounts.imbalances()) == (waits.id, [])
    db.close()


def test_a_start_that_finds_all_as_it_was_takes_no_lock(db: Database, bucket_of: ObjectStorage) -> None:
    own = in_bucket(bucket_of, "calm")
    check_same_storage(db, own)
    with statements(db) as said:
        check_same_storage(db, own)
    assert len([text for text, _ in said if "facts" in text]) == 1
    assert not [text for text, _ in said if text.startswith(("INSERT", "UPDATE", "DELETE", "BEGIN IMMEDIATE"))]


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_those_that_start_together_agree(
    opened: Callable[[], Database], bucket_of: ObjectStorage, tmp_path: Path, kind: str, url: str
) -> None:
    name = url.rpartition("/")[2].partition("?")[0]
    own = in_bucket(bucket_of, f"race-{name}") if kind == "bucket" else Settings.of(database_url=url, data=tmp_path)
    databases = [opened() for _ in range(TOGETHER)]
    with ThreadPoolExecutor(TOGETHER) as pool, capture_logs() as logs:
        [*pool.map(lambda db: check_same_storage(db, own), databases)]
    assert known(databases[0])["id"] == read_storage_id(own)
    assert [line["event"] for line in logs] == ["pictures are kept here from now on"]


def test_a_folder_is_the_same_under_another_path(db: Database, url: str, tmp_path: Path) -> None:
    """As one that machines share is mounted here and there."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").symlink_to(tmp_path / "here")
    check_same_storage(db, Settings.of(database_url=url, data=tmp_path / "here"))
    check_same_storage(db, Settings.of(database_url=url, data=tmp_path / "there"))
    said = refused(db, Settings.of(database_url=url, data=tmp_path / "mine"))
    assert "on a disk that all machines share" in said
    assert not (tmp_path / "mine").exists()


def test_a_bucket_where_a_folder_is_known(db: Database, url: str, bucket_of: ObjectStorage, tmp_path: Path) -> None:
    check_same_storage(db, Settings.of(database_url=url, data=tmp_path))
    assert "leave TINTYPE_STORAGE_URL out" in refused(db, in_bucket(bucket_of, "third", database_url=url))


def test_a_bucket_that_was_made_anew_is_not_what_it_was(db: Database, bucket_of: ObjectStorage) -> None:
    own = in_bucket(bucket_of, "lost")
    check_same_storage(db, own)
    obstore.delete(bucket(own.storage, "", 60), "tintype.json")
    said = refused(db, own)
    assert said.startswith("s3://pictures/lost at ")
    assert "recreated" in said
    assert "tintype storage adopt" in said


def test_a_damaged_marker_is_no_other_storage(db: Database, url: str, tmp_path: Path) -> None:
    own = Settings.of(database_url=url, data=tmp_path)
    check_same_storage(db, own)
    for damaged in ("", "{", "[]", '{"a": 1}', "null"):
        (tmp_path / ID_FILE).write_text(damaged)
        assert refused(db, own).endswith("as tintype's is damaged")


def test_a_storage_that_is_away_is_believed_by_its_name(db: Database) -> None:
    with object_storage() as storage:
        check_same_storage(db, in_bucket(storage, "away"))
    check_same_storage(db, in_bucket(storage, "away", **HASTY))
    other = in_bucket(storage, "other", **HASTY)
    assert refused(db, other).endswith("it is away, so only the names can be compared")


def test_one_that_is_away_at_the_first_start_is_remembered_by_its_name(
    db: Database, url: str, bucket_of: ObjectStorage, tmp_path: Path
) -> None:
    """Else the next to come, a worker without the bucket say, would have the database believe in its own storage."""
    prefix = f"late-{url.rpartition('/')[2].partition('?')[0]}"
    own, hasty = in_bucket(bucket_of, prefix), in_bucket(bucket_of, prefix, **HASTY)
    bucket_of.stop()
    try:
        check_same_storage(db, hasty)
        check_same_storage(db, hasty)
        assert refused(db, in_bucket(bucket_of, "other", **HASTY)).endswith("only the names can be compared")
    finally:
        bucket_of.start()
    assert "set TINTYPE_STORAGE_URL" in refused(db, Settings.of(database_url=url, data=tmp_path))
    assert "would go to s3://pictures/other" in refused(db, in_bucket(bucket_of, "other"))
    assert (known(db)["id"], read_storage_id(own)) == (None, None)
    check_same_storage(db, own)
    assert known(db)["id"] == read_storage_id(own)
    check_same_storage(db, in_bucket(bucket_of, prefix, storage_endpoint=f"http://localhost:{bucket_of.port}"))


def test_a_folder_that_can_not_be_written_is_named(db: Database, url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused(db, Settings.of(database_url=url, data=tmp_path / "file"))
    assert said.startswith(f"{tmp_path}/file/storage.json can't be written: ")
    assert known(db) == {}


# Folder and database on one machine


def test_a_restored_folder_is_marked_again(tmp_path: Path) -> None:
    """`docs/operations.md` copies the database, outputs, inputs and assets."""
    done(here("migrate", "--data", tmp_path))
    own, db = Settings.of(data=tmp_path), Database(f"sqlite:///{tmp_path}/tintype.db")
    check_same_storage(db, own)
    (tmp_path / ID_FILE).unlink()
    with capture_logs() as logs:
        check_same_storage(db, own)
    assert [line["log_level"] for line in logs] == ["warning"]
    assert known(db)["id"] == read_storage_id(own)
    assert (tmp_path / ID_FILE).stat().st_mode & 0o077 == 0
    assert "would go to the folder" in refused(
        db, Settings.of(database_url=f"sqlite:///{tmp_path}/tintype.db", data="x")
    )
    db.close()


def test_a_bucket_s_database_is_no_folder_s(bucket_of: ObjectStorage, tmp_path: Path) -> None:
    """SQLite with a bucket, and a worker beside it whose environment lacks the bucket."""
    done(here("migrate", "--data", tmp_path))
    db = Database(f"sqlite:///{tmp_path}/tintype.db")
    check_same_storage(db, in_bucket(bucket_of, "beside", data=tmp_path))
    assert "set TINTYPE_STORAGE_URL" in refused(db, Settings.of(data=tmp_path))
    db.close()


def test_the_operator_says_that_it_is_another_one(bucket_of: ObjectStorage, tmp_path: Path) -> None:
    def asked(*arguments: str, prefix: str) -> str:
        told = in_bucket(bucket_of, prefix)
        env = {"STORAGE_URL": told.storage.url, "STORAGE_ENDPOINT": told.storage.endpoint}
        env |= {"STORAGE_KEY_ID": "key", "STORAGE_SECRET": "secret"}
        named = {f"TINTYPE_{name}": value for name, value in env.items()}
        result = here("storage", *arguments, "--data", tmp_path, **named)
        return result.stdout if "--json" in arguments else result.output

    done(here("migrate", "--data", tmp_path))
    assert json.loads(asked("show", "--json", prefix="old"))["same"] is None
    assert "s3://pictures/old" in asked("adopt", prefix="old")
    shown = json.loads(asked("show", "--json", prefix="new"))
    assert shown["same"] is False
    assert "pictures/old" in shown["database's"]
    assert "pictures/new" in shown["these settings'"]
    assert "until now, s3://pictures/old at" in asked("adopt", prefix="new")
    assert json.loads(asked("show", "--json", prefix="new"))["same"] is True
    db = Database(f"sqlite:///{tmp_path}/tintype.db")
    Servers(db).start("web-1:8000", {})
    Workers(db).heartbeat("worker-1", "cpu", 0, 0)
    assert "restarted" not in asked("adopt", prefix="new"), "nothing changed"
    assert "have to be restarted: web-1:8000, worker-1" in asked("adopt", prefix="newest")
    asked("adopt", prefix="new")
    check_same_storage(db, in_bucket(bucket_of, "new"))
    assert "pictures are in s3://pictures/new" in refused(db, in_bucket(bucket_of, "old"))
    db.close()


def test_no_sweep_touches_the_marker(db: Database, bucket_of: ObjectStorage) -> None:
    own = in_bucket(bucket_of, "")
    check_same_storage(db, own)
    for kind in ("outputs", "inputs", "assets"):
        open_bucket(own.storage, kind, 0).expire()
    assert read_storage_id(own) == known(db)["id"]


# Models and versions


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return build_registry(Settings.of(data=tmp_path))


def test_a_worker_needs_every_model_that_is_offered(db: Database, registry: Registry) -> None:
    check_models(store_on(db), registry)  # as long as no server is known, nothing is offered
    register_server(store_on(db), registry, "web-1:8000")
    check_models(store_on(db), registry)
    Servers(db).start("web-2:8000", {**registry.identities, "ours": "1", "mine": "2"})
    with pytest.raises(ConfigurationInvalid, match=r"doesn't know: mine, ours; give it their models file"):
        check_models(store_on(db), registry)
    Servers(db).start("web-2:8000", {next(iter(MODELS)): registry.identities[next(iter(MODELS))]})
    check_models(store_on(db), registry)  # knows more than one of them offers


def test_what_was_offered_last_counts_while_nobody_serves(db: Database, registry: Registry) -> None:
    known = Servers(db)
    known.start("web-1:8000", {"ours": "1"})
    known.leave("web-1:8000")
    with pytest.raises(ConfigurationInvalid, match="ours"):
        check_models(store_on(db), registry)
    register_server(store_on(db), registry, "web-2:8000")
    check_models(store_on(db), registry)
    assert [one.id for one in known.shown()[1]] == ["web-2:8000"], "those that left are forgotten"


def test_a_server_that_fell_silent_offers_nothing_while_another_lives(db: Database, registry: Registry) -> None:
    known = Servers(db)
    known.start("web-1:8000", {"ours": "1"})
    register_server(store_on(db), registry, "web-2:8000")
    with db.write() as tx:
        tx.execute(servers.update().where(servers.c.id == "web-1:8000").values(seen_at=now() - SERVER_ALIVE - 1))
    check_models(store_on(db), registry)
    known.heartbeat("web-1:8000", {"ours": "1"})
    assert [one.id for one in known.alive()] == ["web-1:8000", "web-2:8000"]


def test_servers_that_offer_other_models_are_logged(db: Database, registry: Registry) -> None:
    slug, other = [*registry.identities][:2]
    offered = {**registry.identities, slug: "another", "ours": "1"}
    del offered[other]
    Servers(db).start("web-1:8000", offered)
    with capture_logs() as logs:
        register_server(store_on(db), registry, "web-2:8000")
    [line] = logs
    assert (line["event"], line["server"]) == ("a server's models are not the same as here", "web-1:8000")
    assert (line["only_here"], line["only_there"], line["differing"]) == ([other], ["ours"], [slug])


def test_another_version_is_logged_and_not_refused(db: Database, registry: Registry) -> None:
    Servers(db).start("web-1:8000", registry.identities | {"sd1.5-img2img": "as the older one had it"})
    with db.write() as tx:
        tx.execute(servers.update().values(version="0.0.9"))
    with capture_logs() as logs:
        check_models(store_on(db), registry)
    assert [(line["event"], line["its"], line["ours"]) for line in logs] == [
        ("a server is of another version", "0.0.9", __version__)
    ]


def test_another_server_on_a_data_folder_is_logged_and_on_postgres_it_is_usual(db: Database) -> None:
    known = Servers(db)
    for id in ("this:8000", "that:8001", "gone:8002"):
        known.start(id, {})
    known.leave("gone:8002")
    assert serving(store_on(db)).keys() == {"this:8000", "that:8001"}
    with capture_logs() as logs:
        warn_of_servers(store_on(db), "this:8000")
    said = [(line["event"], line["server"], line["log_level"]) for line in logs]
    expected = [("another server runs on this data folder", "that:8001", "warning")]
    assert said == (expected if db.kind == "sqlite" else [])


def test_a_port_that_this_data_s_own_server_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=r"in use; another program, or another tintype, has it: --port"):
            listen("127.0.0.1", port, {"another:8000": 1.0})
        with pytest.raises(SystemExit, match=r"in use; a server of this data folder has it: it runs already$"):
            listen("127.0.0.1", port, {f"{socket.gethostname()}:{port}": 1.0})


def test_processes_of_before_this_was_noted(tmp_path: Path) -> None:
    done(here("migrate", "--data", tmp_path))
    db = Database(f"sqlite:///{tmp_path}/tintype.db")
    with db.write() as tx:
        columns = "id, device, started_at, seen_at, forward_passes, rows"
        row = f"INSERT INTO workers ({columns}) VALUES ('w', 'cpu', 1, :at, 0, 0)"
        tx.execute(text(row), {"at": read_clock(tx)})
    db.close()
    [shown] = json.loads(here("processes", "--json", "--data", tmp_path).stdout)
    assert (shown["process"], shown["id"], shown["version"]) == ("worker", "w", "unknown")


def test_identities_are_the_models_file_s(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text('[models.ours]\nlike = "sd1.5-img2img"\ntitle = "Ours"\n')
    one = build_registry(Settings.of(data=tmp_path)).identities
    assert one == build_registry(Settings.of(data=tmp_path)).identities
    (tmp_path / "models.toml").write_text('[models.ours]\nlike = "sd1.5-img2img"\ntitle = "Theirs"\n')
    other = build_registry(Settings.of(data=tmp_path)).identities
    assert {slug for slug in one if one[slug] != other[slug]} == {"ours"}


def test_a_worker_without_a_database_is_refused(databases: Databases, tmp_path: Path) -> None:
    said = words(here("worker", "--data", tmp_path / "new"))
    assert said.startswith(f"there is no database at {tmp_path}/new/tintype.db, so no server queues anything there")
    assert "TINTYPE_DATABASE_URL" in said
    assert not (tmp_path / "new").exists()
