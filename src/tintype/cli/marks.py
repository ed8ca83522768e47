"""`tintype marks`: what signs images, and which signatures are trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tintype.cli.database import open_store
from tintype.cli.options import data_option, json_option, load_settings, wide_option
from tintype.cli.output import print_rows, shown_time
from tintype.errors import ConfigurationInvalid
from tintype.media.provenance.certificates import Issue, first, issuer
from tintype.store.ops.signers import SignerRow, Signers


@click.group()
def marks() -> None:
    """Marks: what signs images as made here (docs/provenance.md).

    \b
    Examples:
      tintype marks show
      tintype marks roots > roots.pem
      tintype marks rotate
      tintype marks distrust 1
    """


@marks.command()
@data_option
@json_option
@wide_option
def show(data: Path | None, as_json: bool, wide: bool) -> None:
    """List what signs images and has signed them, the oldest first.

    \b
    Example:
      tintype marks show --json
    """
    with _opened(data) as (signers, _):
        print_rows([_row(one) for one in signers.list()], as_json, wide=wide, keep=3)


@marks.command()
@data_option
def roots(data: Path | None) -> None:
    """Print the trusted roots, in PEM, for other verifiers.

    \b
    Example:
      tintype marks roots > roots.pem
    """
    with _opened(data) as (signers, _):
        found = signers.roots()
    if not found:
        raise ConfigurationInvalid("nothing has been signed with a pair of this server's own yet")
    click.echo(found, nl=False)


@marks.command()
@data_option
def rotate(data: Path | None) -> None:
    """Sign with a new pair; trust what the old has signed.

    The old key is deleted. Running servers and workers use the new one within a minute, those of a certificate from
    elsewhere (TINTYPE_MARK_CERTIFICATE) never.

    \b
    Example:
      tintype marks rotate
    """
    with _opened(data) as (signers, issue):
        _tell(signers.rotate(issue))


@marks.command()
@click.argument("signer", type=int)
@data_option
def distrust(signer: int, data: Path | None) -> None:
    """Trust nothing that a signer has signed.

    For a key that may have leaked: what it has signed reads as another signer's from now on, here and wherever the new
    roots are used. A new pair signs.

    \b
    Example:
      tintype marks distrust 1
    """
    with _opened(data) as (signers, issue):
        signers.distrust(signer, issue)
        _tell(signers.list()[-1])


@contextmanager
def _opened(data: Path | None) -> Iterator[tuple[Signers, Issue]]:
    settings = load_settings(data=data)
    with open_store(settings) as store:
        yield store.signers, issuer(settings.web.public_url)


def _tell(row: SignerRow) -> None:
    click.echo(f"signer {row.id}, {_name(row)}, signs from now on" if _state(row) == "signs" else "it is distrusted")


def _row(row: SignerRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": _state(row),
        "name": _name(row),
        "expires": f"{first(row.chain).not_valid_after_utc:%Y-%m-%d}",
        "created": shown_time(row.created_at),
        "retired": None if row.retired_at is None else shown_time(row.retired_at),
        "distrusted": None if row.distrusted_at is None else shown_time(row.distrusted_at),
    }


def _state(row: SignerRow) -> str:
    if row.distrusted_at is not None:
        return "distrusted"
    if not row.own:
        return "configured"
    return "signs" if row.retired_at is None else "trusted"


def _name(row: SignerRow) -> str:
    return first(row.chain).subject.rfc4514_string()
