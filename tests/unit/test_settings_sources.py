"""Where settings come from: the command line over the environment over a file; secrets in files; what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests import docs, settings_page

from tintype.cli import tintype
from tintype.cli.serve import child_settings
from tintype.cli.sources import Configuration, exposed, load, variables
from tintype.errors import ConfigurationInvalid
from tintype.settings import GROUPS, SETTINGS, Setting, Settings, find


def file_of(folder: Path, text: str, name: str = "tintype.toml") -> Path:
    (file := folder / name).write_text(text)
    file.chmod(0o600)
    return file


def refused(environment: Mapping[str, str], config: Path | None = None, **options: Any) -> str:
    with pytest.raises(ConfigurationInvalid) as error:
        load(environment, options, config)
    assert "\n" not in error.value.message
    return error.value.message


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(tintype, words, env=environment)


def origin(loaded: Configuration, flat: str) -> tuple[str, str]:
    found = loaded.origins[find(flat)]
    return found.kind, found.name


def test_each_source_goes_over_the_next(tmp_path: Path) -> None:
    file = file_of(tmp_path, "[web]\nport = 1\nhost = 'file'\n[queue]\nlease = 7\n")
    loaded = load({"TINTYPE_PORT": "2", "TINTYPE_HOST": "variable"}, {"data": tmp_path, "port": 3})
    web, queue = loaded.settings.web, loaded.settings.queue
    assert (web.port, web.host, queue.lease, queue.heartbeat) == (3, "variable", 7, 0.5)
    assert origin(loaded, "port") == ("command line", "--port")
    assert origin(loaded, "host") == ("environment", "TINTYPE_HOST")
    assert origin(loaded, "lease") == ("file", f"{file}: [queue] lease")
    assert find("heartbeat") not in loaded.origins


def test_the_file_is_the_named_one_or_that_of_the_data_folder(tmp_path: Path) -> None:
    (there := tmp_path / "there").mkdir()
    file_of(tmp_path, "[web]\nport = 1")
    file_of(there, "[web]\nport = 2")
    named = file_of(tmp_path, "[web]\nport = 3\n", "named.toml")
    assert load({}, {"data": tmp_path}).settings.web.port == 1
    assert load({"TINTYPE_DATA": str(there)}, {}).settings.web.port == 2
    assert load({"TINTYPE_DATA": str(there), "TINTYPE_CONFIG": str(named)}, {}).settings.web.port == 3
    assert load({"TINTYPE_CONFIG": "/nowhere"}, {}, named).settings.web.port == 3
    assert load({"TINTYPE_CONFIG": ""}, {"data": there}).settings.web.port == 2
    assert load({"tintype_config": str(named)}, {"data": there}).settings.web.port == 3
    assert load({}, {"data": tmp_path / "nowhere"}).file is None


def test_a_named_file_may_name_the_data_folder_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    text = 'data = "own"\n[models]\nfile = "models.toml"\n[models.weights]\n"sd1.5-img2img" = "sd15"\n'
    own = load({}, {}, file_of(tmp_path, text)).settings
    assert (own.data, own.models.file) == (tmp_path / "own", tmp_path / "models.toml")
    assert own.models.weights == {"sd1.5-img2img": tmp_path / "sd15"}
    assert load({"TINTYPE_DATA": "elsewhere"}, {}, tmp_path / "tintype.toml").settings.data == Path("elsewhere")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[web]\nprot = 1", "[web] prot is not a setting; did you mean [web] port?"),
        ("[web]\nlease = 1", "[web] lease is not a setting; did you mean [queue] lease?"),
        ("port = 1", "port is not a setting; did you mean [web] port?"),
        ("[web]\nTINTYPE_SYNC_WAIT = 1", "[web] TINTYPE_SYNC_WAIT is not a setting; did you mean [web] sync_timeout?"),
        ("[databse]\nurl = 'x'", "[databse] is no table of settings; did you mean [database]?"),
        ("[colour]\nx = 1", "[colour] is no table of settings; `tintype config show` lists them all"),
        ("[web]\nbogus = 1", "[web] bogus is not a setting; `tintype config show` lists them all"),
        ("web = 1", "web is a table: write [web], and its settings below it"),
        ("[web]\nport = 'abc'", '[web] port: "abc" was set; allowed is a whole number from 0 to 65535'),
        ("[web]\nport = true", "[web] port: true was set; allowed is a whole number from 0 to 65535"),
        ("[queue]\nlease = inf", "[queue] lease: Infinity was set; allowed is a finite number"),
        ('[web]\nhost = "a\\u0000b"', '[web] host: "a\\u0000b" was set; allowed is a text without NUL'),
        ("[web]\nhost = ['a']", '[web] host: ["a"] was set; allowed is a text, not empty'),
        ("[billing]\nprices = {a = {per = 'x'}}", "[billing] prices: a.dollars: "),
        ("[storage]\nsecret = 5", "[storage] secret: allowed is a text"),
        ("data = 'x'", "data: this file was found in the data folder, so it can't name another one"),
        ("x = " + "[" * 5_000, "a list is too deep, or a number too long"),
        ("[web]\nport = " + "9" * 5_000, "a list is too deep, or a number too long"),
        ("[web]\nport = 0x" + "f" * 5_000, "[web] port: a number too long to show was set; allowed is a whole number"),
        ("[web\nport = 1", None),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(tmp_path: Path, text: str, words: str | None) -> None:
    file = file_of(tmp_path, text)
    said = refused({}, data=tmp_path)
    if words is None:
        assert said == f"{file} is not TOML: Expected ']' at the end of a table declaration (at line 1, column 5)"
    else:
        assert said.startswith(f"{file}: {words}")


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    assert refused({}, tmp_path / "no.toml").endswith("no.toml can't be read: No such file or directory")
    assert refused({"TINTYPE_CONFIG": str(tmp_path)}).endswith(" can't be read: Is a directory")
    (tmp_path / "tintype.toml").write_bytes(b"\xff\xfe")
    assert refused({}, data=tmp_path).endswith("tintype.toml can't be read: it is not UTF-8")
    endless = "/dev/zero can't be read: it is larger than 1048576 bytes"
    assert refused({"TINTYPE_CONFIG": "/dev/zero"}) == f"the settings file {endless}"
    assert refused({"TINTYPE_DATABASE_URL_FILE": "/dev/zero"}) == f"TINTYPE_DATABASE_URL_FILE: {endless}"


@pytest.mark.timeout(30)
def test_a_named_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "tintype.toml")
    words = f"{pipe} can't be read: it is a named pipe; allowed is a file, or a pipe as <(…) passes it"
    for named in ({"TINTYPE_CONFIG": str(pipe)}, {"TINTYPE_DATA": str(tmp_path)}):
        assert refused(named) == f"the settings file {words}"
    assert refused({"TINTYPE_STORAGE_SECRET_FILE": str(pipe)}) == f"TINTYPE_STORAGE_SECRET_FILE: {words}"


SECRETS = [one for one in SETTINGS if one.from_file]


def test_what_may_be_a_file() -> None:
    assert [one.name for one in SECRETS] == ["DATABASE_URL", "STORAGE_KEY_ID", "STORAGE_SECRET", "BOOTSTRAP_KEY"]
    assert [str(one) for one in SETTINGS if "SecretStr" in str(one.info.annotation) and not one.hidden] == []


@pytest.mark.parametrize("setting", SECRETS, ids=str)
def test_a_secret_from_a_file(tmp_path: Path, setting: Setting) -> None:
    value = "sqlite:///x.db" if setting.name == "DATABASE_URL" else "hush"
    pair = {"STORAGE_KEY_ID": "STORAGE_SECRET", "STORAGE_SECRET": "STORAGE_KEY_ID"}.get(setting.name)
    other = {f"TINTYPE_{pair}": "other"} if pair else {}
    (file := tmp_path / "secret").write_text(f"{value}\n")
    name = f"TINTYPE_{setting.name}"
    loaded = load({f"{name}_FILE": str(file), name: "", **other}, {})
    assert loaded.settings == load({name: value, **other}, {}).settings
    assert origin(loaded, setting.flat) == ("environment", f"{name}_FILE")
    for both in ({name: value, f"{name}_FILE": str(file)}, {f"{name}_FILE": str(file), name: value}):
        said = refused({**both, **other})
        assert said == f"{' and '.join(both)} are one setting, and both are set: leave one of them out"
    missing = refused({f"{name}_FILE": "/nowhere/x"})
    assert missing == f"{name}_FILE: /nowhere/x can't be read: No such file or directory"
    assert refused({f"{name}_FILE": str(tmp_path)}) == f"{name}_FILE: {tmp_path} can't be read: Is a directory"
    file.write_text("\n")
    assert refused({f"{name}_FILE": str(file)}) == f"{name}_FILE: {file} is empty"


def test_older_names_still_work() -> None:
    for setting in (one for one in SETTINGS if one.older):
        value = "5"
        old, new = (load({f"TINTYPE_{name}": value}, {}) for name in (setting.older, setting.name))
        assert old.settings == new.settings != Settings(), setting
        assert old.label(setting) == f"TINTYPE_{setting.older}"
        both = {f"TINTYPE_{setting.older}": "5", f"TINTYPE_{setting.name}": "6"}
        assert refused(both) == f"{' and '.join(both)} are one setting, and both are set: leave one of them out"
        assert load({**both, f"TINTYPE_{setting.name}": "5"}, {}).settings == new.settings
        with pytest.raises(ValueError, match="are one setting, and have different values"):
            Settings.of(**{setting.older.lower(): 5, setting.flat: 6})


def test_everything_that_is_set_can_be_handed_over() -> None:
    """As variables: to workers on machines that have none of the files."""
    everything = Settings.of(
        trusted_proxies="10.0.0.0/8, ::1",
        cors_origins=["https://a.example"],
        weights={"a": "/b"},
        prices={"a": {"dollars": 0.25, "per": "second"}, "b": 1},
        memory=12.5,
        keep_alive=3,
        billing=False,
        storage_key_id="key",
        storage_secret="hush",
        bootstrap_key="SG_x",
        models="/models.toml",
        database_url="sqlite:////x.db",
    )
    origins = {one: load({"TINTYPE_PORT": "1"}, {}).origins[find("port")] for one in SETTINGS}
    assert load(variables(Configuration(everything, origins, None)), {}).settings == everything


def test_what_a_pipe_said_is_handed_to_child_processes_as_variables(tmp_path: Path) -> None:
    """`serve --config <(…)`: it can be read once. A settings file in the data folder, not used here, isn't by them."""
    file_of(tmp_path, "[web]\nhost = 'unread'\n")
    reading, writing = os.pipe()
    os.write(writing, b"[queue]\nlease = 7\n[storage]\nkey_id = 'k'\nsecret = 'hush'\n")
    os.close(writing)
    environment = {"TINTYPE_LEASE": "8", "tintype_bootstrap_key": "SG_x", "PATH": "/bin"}
    loaded = load(environment, {"data": tmp_path}, Path(f"/dev/fd/{reading}"))
    options, env = child_settings(loaded, environment)
    os.close(reading)
    assert options == ["--config", os.devnull]
    own = {"TINTYPE_LEASE": "8", "TINTYPE_STORAGE_KEY_ID": "k", "TINTYPE_STORAGE_SECRET": "hush"}
    assert env == {"PATH": "/bin", **own}
    there = load(env, {"data": tmp_path}, Path(options[1])).settings
    assert there.replace(bootstrap_key="SG_x") == loaded.settings


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "noted"), [(0o644, 0o755, True), (0o640, 0o755, False), (0o644, 0o700, False)]
)
def test_secrets_that_any_user_can_read_are_noted(
    tmp_path: Path, file_mode: int, folder_mode: int, noted: bool
) -> None:
    file = file_of(tmp_path, "[database]\nurl = 'sqlite:///x'\n")
    file.chmod(file_mode)
    tmp_path.chmod(folder_mode)
    said = f"{file} has secrets in it (database.url), and any user can read it: chmod 600"
    assert exposed(load({}, {}, file)) == (said if noted else None)
    shown = run("--config", str(file), "config", "show")
    assert shown.stderr == (f"note: {said}\n" if noted else "")
    file_of(tmp_path, "[web]\nport = 1\n").chmod(0o644)
    assert exposed(load({}, {}, file)) is None, "it has no secrets"
    file.chmod(0o666)
    said = f"any user can change {file}, and so what this server does: chmod 600"
    assert exposed(load({}, {}, file)) == (None if folder_mode == 0o700 else said)


def test_what_is_shown(tmp_path: Path) -> None:
    file_of(
        tmp_path, "[web]\nport = 9000\n[retention]\nhistory_ttl = 86400\n[storage]\nkey_id = 'k'\nsecret = 'hush'\n"
    )
    url = "postgresql+psycopg://me:hush@db/tintype?password=hush"
    given = {"TINTYPE_DATABASE_URL": url, "TINTYPE_BOOTSTRAP_KEY": "SG_hush", "TINTYPE_SYNC_WAIT": "5"}
    shown = run("config", "show", "--data", str(tmp_path), "--changed", **given).stdout
    assert "hush" not in shown
    assert shown.splitlines() == [
        f"# settings file: {tmp_path}/tintype.toml",
        *_line(f'data = "{tmp_path}"', "--data"),
        "",
        "[web]",
        *_line("port = 9000", "tintype.toml"),
        *_line("sync_timeout = 5", "TINTYPE_SYNC_WAIT"),
        "",
        "[database]",
        *_line('url = "postgresql+psycopg://me:***@db/tintype?password=%2A%2A%2A"', "TINTYPE_DATABASE_URL"),
        "",
        "[storage]",
        *_line('key_id = "k"', "tintype.toml"),
        *_line('secret = "***"', "tintype.toml"),
        "",
        "[accounts]",
        *_line('bootstrap_key = "***"', "TINTYPE_BOOTSTRAP_KEY"),
        "",
        "[retention]",
        *_line("history_ttl = 86400", "1 day, tintype.toml"),
    ]


def _line(text: str, comment: str) -> list[str]:
    """Within 80 columns, as long as the value leaves room for where it comes from."""
    line = f"{text:40}  # {comment}"
    return [line] if len(line) <= 80 else [f"# {comment}", text]


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_the_file_may_be_named_on_either_side_of_the_command(tmp_path: Path, before: bool) -> None:
    named = ["--config", str(file_of(tmp_path, "[web]\nport = 9\n"))]
    words = [*named, "config", "show", "web"] if before else ["config", "show", "web", *named]
    assert "\nport = 9 " in run(*words).stdout
    assert "can't be read" in run(*[word.replace("tintype.toml", "no.toml") for word in words]).stderr


def test_the_catalogue_of_generate_is_the_file_s(tmp_path: Path) -> None:
    """Its sub-commands are the models', so the file is read before the command is known."""
    file_of(tmp_path, '[models."own"]\nlike = "sd1.5-img2img"\n', "models.toml")
    file = file_of(tmp_path, '[models]\nfile = "models.toml"\n', "named.toml")
    for words in (("--config", str(file), "generate", "own"), ("generate", "own", "--config", str(file))):
        assert "Usage: tintype generate own" in run(*words, "--help").stdout, words
    assert run("generate", "own", "--help").exit_code == 2


def test_groups_and_json() -> None:
    shown = run("config", "show", "queue", "safety", "--json", TINTYPE_LEASE="9")
    rows = json.loads(shown.stdout)
    assert [row["setting"] for row in rows] == [str(one) for one in SETTINGS if one.group in ("queue", "safety")]
    assert rows[0] == {
        "setting": "queue.lease",
        "variable": "TINTYPE_LEASE",
        "value": 9,
        "source": "environment",
        "from": "TINTYPE_LEASE",
    }
    assert rows[1] | {"source": "default", "from": None} == rows[1]
    assert run("config", "show", "nonsense").exit_code == 2


def test_the_example_is_a_settings_file_with_every_default(tmp_path: Path) -> None:
    lines = run("config", "example").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    given = [line.removeprefix("# ") for line in lines if " = " in line and line.split(" = ")[0][2:].isidentifier()]
    assert len(given) == len(SETTINGS) - 1, "all but the data folder"
    tables = [line if line.startswith("[") else line.removeprefix("# ") for line in lines]
    kept = [line for line in tables if line in given or line in {f"[{group}]" for group in GROUPS}]
    loaded = load({}, {}, file_of(tmp_path, "\n".join(kept)))
    assert loaded.settings == Settings()
    assert len(loaded.origins) == len(given)
    assert load({}, {}, file_of(tmp_path, "\n".join(lines))).origins == {}


def test_every_setting_has_a_reason_and_words_for_what_is_allowed() -> None:
    assert [str(one) for one in SETTINGS if len(one.about) < 10 or not one.allowed] == []


def test_the_page_is_as_the_class_has_it() -> None:
    assert (docs.ROOT / "docs/settings.md").read_text("utf-8") == settings_page.page(), "run `make docs`"


def test_nothing_but_the_command_line_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TINTYPE_PORT", "9")
    assert Settings().web.port == Settings.of(host="x").web.port == 8000


def test_a_copy_with_changes_is_checked_too() -> None:
    own = Settings.of(port=1, fleet_min=2)
    assert own.replace(port=3) == Settings.of(port=3, fleet_min=2)
    with pytest.raises(ValueError, match=r"fleet\.min_workers is 2"):
        own.replace(fleet_max=1)
    with pytest.raises(ValueError, match="nonsense is no setting"):
        own.replace(nonsense=1)
