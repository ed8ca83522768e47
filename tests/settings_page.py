"""docs/settings.md, made from the class: every setting with its names, its default, what is allowed and why."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from tintype.cli.config import human, toml
from tintype.settings import GROUPS, PREFIX, SETTINGS, Setting

WIDTH = 120
HEAD = """\
# Settings

<!-- Made from src/tintype/settings/ by `make docs`: change it there. -->

A setting is a variable of the environment, or a line of a settings file. Every one has a default; `tintype serve` needs
none of them. `tintype config show` prints which are in force and where each comes from, secrets hidden.

## Where they come from

1. The **command line**: `--port`, `--data` and the few others that `tintype serve --help` lists.
2. The **environment**: `TINTYPE_PORT=9000`. Lists are separated by commas, tables are JSON; the case of names doesn't
   matter. A variable that begins with `TINTYPE_` and is no setting is refused, and so is a setting that has different
   values under its name and under the one that it had formerly.
3. The **settings file**: the one that `tintype --config FILE` or `TINTYPE_CONFIG` names, else `tintype.toml` in the
   data folder, if there is one; never two. Paths in it are relative to its folder. The one in the data folder can't
   name another data folder. `mkdir -p data; tintype config example > data/tintype.toml` writes one with every default.
4. The **default**.

The first of these that has a setting decides it.

```toml
[web]
port = 9000
trusted_proxies = ["10.0.0.0/8"]

[retention]
history_ttl = 2592000

[models.weights]
"sd1.5-img2img" = "weights/sd15"
```

**Secrets** may be files, as containers are given them: `TINTYPE_STORAGE_SECRET_FILE=/run/secrets/storage` is the same
as `TINTYPE_STORAGE_SECRET` with what the file holds, without the end of its line. A file that is missing, empty or
unreadable ends the start, and so does giving both. Such variables stand below where a setting has one. A settings file
with secrets in it should be its owner's alone (`chmod 600`): a note says where any user of the machine could read it. A
`tintype.toml` in the data folder is trusted as the database next to it is: run tintype where only you can write, not in
`/tmp`.

**All processes.** `tintype serve` hands its workers its settings file, or what a pipe said (`--config <(…)`), and its
environment; a Ray fleet hands its nodes' workers what both say: the files needn't be there. Processes on other machines
that are started by hand need the same settings of the database, the storage and the models, and should have the same of
the queue, the limits and retention.

"""


def page() -> str:
    """The whole document."""
    return HEAD + "\n".join([*_index(), "", *_lines()]).rstrip() + "\n"


def _index() -> Iterator[str]:
    yield "| table | what it is about |"
    yield "|---|---|"
    for group, model in GROUPS.items():
        yield f"| [`[{group}]`](#{group}) | {model.__doc__} |"


def _lines() -> Iterator[str]:
    yield from _of(SETTINGS[0])
    for group, model in GROUPS.items():
        yield from (f"## {group}", "", model.__doc__ or "", "")
        for setting in SETTINGS:
            if setting.group == group:
                yield from _of(setting)


def _of(setting: Setting) -> Iterator[str]:
    named = ", ".join(f"`{PREFIX}{name}`" for name in setting.variables if name != setting.older)
    older = f", formerly `{PREFIX}{setting.older}`" if setting.older else ""
    in_words = human(setting.default, setting.unit)
    default = f"`{toml(setting.default)}`{f' ({in_words})' if in_words else ''}"
    facts = f"{named}{older}. Default {default}; allowed is {setting.allowed}."
    yield from (f"### {setting}", "", _wrapped(setting.about), "", _wrapped(facts), "")


def _wrapped(text: str) -> str:
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
