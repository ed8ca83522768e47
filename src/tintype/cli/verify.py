"""`tintype verify IMAGE`: who made an image, and whether it has been changed since."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy import make_url

from tintype.cli.database import is_missing, open_store
from tintype.cli.options import data_option, json_option, load_settings
from tintype.errors import BadPicture, ConfigurationInvalid, TintypeError
from tintype.media.provenance.certificates import read_trusted
from tintype.media.provenance.findings import Findings
from tintype.media.provenance.verify import Anchors, read, trusted
from tintype.settings import Settings

#: Exit codes: something was found; nothing was; it can't be said, as something can't be read. Elsewhere errors are 1.
FOUND, NOTHING, UNREADABLE = 0, 1, 2
NO_DATABASE = "note: there is no database here, so which marks are this server's isn't known (--data, --roots)"


@click.command()
@click.argument("file", metavar="IMAGE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--roots",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificates in PEM that are trusted too, as another server's GET /v1/verify/roots.pem.",
)
@json_option
@data_option
def verify(file: Path, roots: Path | None, as_json: bool, data: Path | None) -> None:
    """Say who made an image, and whether it has been changed since.

    No server has to run, and nothing is fetched. The exit code is 0 where something was found, 1 where nothing was,
    which does not mean that the image was not made by AI, and 2 where the file, a list of certificates or the database
    can't be read.

    \b
    Examples:
      tintype verify fox.png
      tintype verify fox.png --roots roots.pem --json
    """
    settings = load_settings(data=data)
    try:
        found = _findings(file.read_bytes(), settings, _others(settings, roots))
    except TintypeError as error:
        whose = f"{file}: " if isinstance(error, BadPicture) else ""
        click.echo(f"tintype: {whose}{error.message}", err=True)
        sys.exit(UNREADABLE)
    click.echo(json.dumps(_answer(found), indent=2) if as_json else found.words)
    sys.exit(UNREADABLE if not found.readable else FOUND if found.found else NOTHING)


def _answer(found: Findings) -> dict[str, object]:
    """As `POST /v1/verify` answers."""
    return {"found": found.found, "verdict": found.words, **asdict(found)}


def _others(settings: Settings, roots: Path | None) -> str:
    """Certificates of those whom the operator trusts, and of the option; raises ConfigurationInvalid."""
    others = trusted(settings.provenance)
    if roots is None:
        return others
    try:
        return others + read_trusted(roots)
    except ConfigurationInvalid as error:
        raise ConfigurationInvalid(f"--roots {roots}: {error.message}") from error


def _findings(data: bytes, settings: Settings, others: str) -> Findings:
    """With what the database knows, if there is one."""
    if is_missing(make_url(settings.sqlalchemy_url)):
        click.echo(NO_DATABASE, err=True)
        return read(data, Anchors(others=others))
    with open_store(settings) as store:
        found = read(data, Anchors.of(store.signers.list(), others), store.signers.tag())
        return found.with_log(data, store.image_log)
