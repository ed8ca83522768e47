"""The command line: the only part that reads the environment."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import sys

import click

from tintype import __version__
from tintype.cli.accounts import accounts
from tintype.cli.audit import audit
from tintype.cli.config import config
from tintype.cli.database import backup, migrate
from tintype.cli.demo import demo
from tintype.cli.fleet import fleet
from tintype.cli.generate import generate
from tintype.cli.keys import keys
from tintype.cli.marks import marks
from tintype.cli.models import models
from tintype.cli.operate import processes, queue, workers
from tintype.cli.options import config_option
from tintype.cli.replay import replay
from tintype.cli.serve import serve, worker
from tintype.cli.storage import storage
from tintype.cli.verify import verify
from tintype.cli.webhooks import webhooks
from tintype.errors import TintypeError
from tintype.store.db.audit import Actor, acting

#: Errors of a disk, or of permissions, that say all there is to know.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


@click.group()
@click.version_option(__version__, prog_name="tintype")
@config_option
@click.pass_context
def tintype(context: click.Context) -> None:
    """Image generation on your own machine, behind a commercial host's public API.

    \b
    Examples:
      tintype demo                            four models, ten images, no key
      tintype serve                           the server; prints a first key, once
      tintype generate sd1.5-img2img --help   what a model takes

    Settings are environment variables (TINTYPE_PORT, TINTYPE_DATA, …) or lines of a settings file: `tintype config
    show` lists all, with what is in force, and docs/settings.md says what each does.
    """
    context.with_resource(acting(Actor("cli", _user(), logged=False)))


for command in (
    serve,
    worker,
    fleet,
    generate,
    replay,
    verify,
    models,
    keys,
    accounts,
    webhooks,
    marks,
    queue,
    workers,
    processes,
    storage,
    migrate,
    backup,
    audit,
    config,
    demo,
):
    tintype.add_command(command)


def _user() -> str:
    """The operating system's user and host, for the audit log."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a container may run under any number
        name = f"uid {number}"
    sudo = os.environ.get("SUDO_USER")
    return f"{f'{sudo} as ' if sudo else ''}{name}@{socket.gethostname()}"


def main() -> None:
    """Run the `tintype` command; our own errors, and a full disk, end it with one line on stderr and exit code 1."""
    try:
        tintype()
    except TintypeError as error:
        sys.exit(f"tintype: {error.message}")
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        sys.exit(f"tintype: {error.filename or 'the output'} can't be written: {error.strerror}")
