"""What a start is refused for is one line, and changes nothing; without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from tintype.cli import tintype
from tintype.cli.database import explain_refusal
from tintype.errors import ConfigurationInvalid


class ClientError(Exception):
    """As psycopg's errors of before a connection are: without a code of PostgreSQL's."""

    sqlstate = None


@pytest.mark.parametrize("command", ["serve", "migrate", "audit", "backup copy.db"])
@pytest.mark.parametrize(
    "url", ["127.0.0.1:5432", "postgresql+psycopg://tintype:hush@db:port/tintype", "db/tintype", "tintype:hush@db"]
)
def test_an_address_that_is_none_is_one_line(command: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_DATABASE_URL", url)
    result = CliRunner().invoke(tintype, command.split())
    assert result.exit_code == 2
    assert result.output.startswith("Error: TINTYPE_DATABASE_URL is written like ")
    assert result.output.count("\n") == 1
    assert "hush" not in result.output


def test_a_setting_that_is_like_none_is_given_no_closest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_BOGUS", "1")
    output = CliRunner().invoke(tintype, ["serve"]).output
    assert output == "Error: TINTYPE_BOGUS is not a setting; `tintype config show` lists them all\n"


@pytest.mark.parametrize("name", ["TINTYPE_PORTS", "TINTYPE_LEASE", "TINTYPE_PRICES", "TINTYPE_TRACES"])
def test_a_setting_that_is_wrong_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "no")
    result = CliRunner().invoke(tintype, ["serve"])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert name in result.output


def test_an_option_of_libpq_s_that_there_is_not() -> None:
    url = make_url("postgresql+psycopg://tintype:hush@db/tintype?sslmod=x")
    said = explain_refusal(DBAPIError(None, None, ClientError('invalid connection option "sslmod"')), url)
    assert said.startswith('invalid connection option "sslmod": after its ? ')
    assert explain_refusal(DBAPIError("SELECT 1", None, ClientError("a mistake of ours")), url) == ""


@pytest.mark.parametrize(
    "command",
    [
        *("audit", "processes", "queue pause", "queue status", "workers list", "webhooks list", "storage show"),
        *("accounts list", "accounts check", "accounts usage", "storage adopt", "keys list", "keys revoke SG_1"),
    ],
)
def test_who_looks_in_the_wrong_folder_is_told_and_makes_none(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    result = CliRunner().invoke(tintype, [*command.split(), "--data", str(folder)])
    assert isinstance(result.exception, ConfigurationInvalid)
    assert f"there is no database of tintype's in {folder}/" in str(result.exception)
    assert not folder.exists()


def test_the_folder_is_named_as_a_whole_where_it_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(tintype, ["keys", "list"])
    assert f"in {tmp_path}/data/: name the server's folder (--data, TINTYPE_DATA)" in str(result.exception)


@pytest.mark.parametrize("command", ["models list", "models show sd1.5-img2img", "models check --all"])
def test_what_needs_no_database_makes_no_folder_either(command: str, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    result = CliRunner().invoke(tintype, [*command.split(), "--data", str(folder)])
    assert (result.exit_code, folder.exists()) == (0, False), result.output


def test_a_database_of_somebody_else_s_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "passwd"
    other.write_text("root:x:0:0:root:/root:/bin/bash\n" * 40)
    other.chmod(0o644)
    monkeypatch.setenv("TINTYPE_DATABASE_URL", f"sqlite:///{other}")
    result = CliRunner().invoke(tintype, ["serve", "--fleet", "none", "--data", str(tmp_path / "data")])
    assert "file is not a database" in str(result.exception)
    assert other.stat().st_mode & 0o777 == 0o644
