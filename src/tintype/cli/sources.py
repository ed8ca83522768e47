"""The settings in force and where each comes from: the command line, the environment, a settings file, or its default.

The command line goes over the environment, that over the file. The file is the one that `--config` or TINTYPE_CONFIG
names, else `tintype.toml` in the data folder, if there is one.
"""

from __future__ import annotations

import difflib
import errno
import json
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from tintype.errors import ConfigurationInvalid
from tintype.settings import CONFIG, GROUPS, PREFIX, SETTINGS, VARIABLES, Setting, Settings, find, of_location

FILE_NAME = "tintype.toml"
#: Settings of earlier versions: what to do instead.
REPLACED = {"KEY_STREAMS": "TINTYPE_ACCOUNT_WAITS bounds an account's event streams, together with its v1 calls"}
#: Variables of Amazon's tools for the storage's address; the first one that is set counts.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
#: Of the similarity of two names, from 0 to 1: below it, one isn't a typing mistake of the other.
SIMILAR = 0.7
MAX_SHOWN = 80
#: Bytes of a settings file, or of a secret's.
MAX_FILE = 2**20
#: Where the pipes are that this process was given, as `--config <(…)` does: who writes there is running already.
DESCRIPTORS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
#: Settings that no worker gets as a variable: it has the folder as an option, and needs no first key.
NOT_HANDED_ON = ("data", "bootstrap_key")


@dataclass(frozen=True)
class Origin:
    """Where a value comes from."""

    kind: Literal["command line", "environment", "file"]
    #: As an operator finds it there: `--port`, `TINTYPE_PORT`, `/etc/tintype.toml: [web] port`.
    name: str


#: Values of one source as they were given, each with its origin.
Given = dict[Setting, tuple[object, Origin]]


@dataclass(frozen=True)
class Configuration:
    """The settings in force."""

    settings: Settings
    #: Of each setting that was given.
    origins: Mapping[Setting, Origin]
    #: The settings file that was read, if any.
    file: Path | None

    def label(self, setting: Setting) -> str:
        """What an operator changes it by."""
        return _label(setting, self.origins)


def load(environment: Mapping[str, str], options: Mapping[str, Any], config: Path | None = None) -> Configuration:
    """The settings by the options of a command, by flat name, then `TINTYPE_…`, then the file; config: `--config`.

    Raises ConfigurationInvalid, in one line.
    """
    given = dict(_environment(environment))
    for name, value in options.items():
        given[find(name)] = value, Origin("command line", f"--{name.replace('_', '-')}")
    named = config or next((value for name, value in environment.items() if name.upper() == PREFIX + CONFIG), None)
    data, _ = given.get(find("data"), ("", None))
    file = Path(named) if named else Path(str(data or Settings().data)) / FILE_NAME
    table = _read(file, needed=bool(named))
    if table is None:
        return _validated(given, None)
    in_file = dict(_from_file(file, table))
    if find("data") in in_file and not named:
        raise ConfigurationInvalid(
            f"{file}: data: this file was found in the data folder, so it can't name another one: leave it out, or name"
            " the file (--config, TINTYPE_CONFIG)"
        )
    return _validated(in_file | given, file)


def with_endpoint(loaded: Configuration, environment: Mapping[str, str]) -> Configuration:
    """The same with the storage's address, also where only Amazon's variables have it; raises ConfigurationInvalid.

    The address tells storages apart: in the log at start, in the database, and while the storage is unreachable.
    """
    name = next((name for name in ENDPOINTS if environment.get(name)), None)
    if name is None or loaded.settings.storage.endpoint or not loaded.settings.storage.url:
        return loaded
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", environment[name]):
        raise ConfigurationInvalid(f"{name} is no address: it is written like https://storage.example")
    origins = {**loaded.origins, find("storage_endpoint"): Origin("environment", name)}
    settings = loaded.settings.replace(storage_endpoint=environment[name].rstrip("/"))
    return replace(loaded, settings=settings, origins=origins)


def variables(loaded: Configuration, without: Iterable[str] = ()) -> dict[str, str]:
    """What was set as `TINTYPE_…`, for processes that can't read the files; without: flat names."""
    left_out = {find(name) for name in without}
    return {
        PREFIX + one.name: _text(one.value(loaded.settings))
        for one, origin in loaded.origins.items()
        if origin.kind != "command line" and one not in left_out
    }


def plain(value: object) -> Any:
    """A value as JSON has it: a list in alphabetical order, a whole number without a point."""
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return "" if value is None else to_jsonable_python(value, exclude_none=True)


def _text(value: object) -> str:
    """A value as the environment has it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    simple = plain(value)
    if isinstance(simple, list):
        return ",".join(simple)
    return simple if isinstance(simple, str) else json.dumps(simple)


def exposed(loaded: Configuration) -> str | None:
    """A note where other users of this machine can change the settings file, or read secrets in it."""
    if not loaded.file:
        return None
    file, folder = loaded.file.stat().st_mode, loaded.file.absolute().parent.stat().st_mode
    if file & stat.S_IWOTH and folder & stat.S_IXOTH:
        return f"any user can change {loaded.file}, and so what this server does: chmod 600"
    in_file = [one for one, origin in loaded.origins.items() if origin.kind == "file"]
    secrets = [str(one) for one in in_file if one.hidden and one.value(loaded.settings) != one.default]
    if not (secrets and file & stat.S_IROTH and folder & stat.S_IXOTH):
        return None
    return f"{loaded.file} has secrets in it ({', '.join(secrets)}), and any user can read it: chmod 600"


def _environment(environment: Mapping[str, str]) -> Iterator[tuple[Setting, tuple[object, Origin]]]:
    """Of each setting that the environment has, its value and the variable; raises ConfigurationInvalid."""
    found: dict[Setting, str] = {}
    for variable, value in environment.items():
        name = variable.upper().removeprefix(PREFIX)
        if not variable.upper().startswith(PREFIX) or name == CONFIG:
            continue
        if name not in VARIABLES:
            raise ConfigurationInvalid(_unknown_variable(variable, name))
        setting = VARIABLES[name]
        if not value and setting.from_file:  # as compose files leave it
            continue
        in_file = setting.from_file is not None and name == f"{setting.name}_FILE"
        if setting in found and (in_file or environment[found[setting]] != value):
            raise ConfigurationInvalid(
                f"{found[setting]} and {variable} are one setting, and both are set: leave one of them out"
            )
        found[setting] = variable
        yield setting, (_secret(variable, value) if in_file else value, Origin("environment", variable))


def _secret(variable: str, path: str) -> str:
    """What a file holds, as containers are given secrets, without the end of its line."""
    try:
        text = _text_of(Path(path)).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"{variable}: {path} can't be read: {_why(error)}") from None
    if not text:
        raise ConfigurationInvalid(f"{variable}: {path} is empty")
    return text


def _read(file: Path, *, needed: bool) -> dict[str, Any] | None:
    """The tables of a settings file; None where there is none and none is needed."""
    try:
        return tomllib.loads(_text_of(file))
    except (FileNotFoundError, NotADirectoryError) as error:
        if not needed:
            return None
        raise ConfigurationInvalid(f"the settings file {file} can't be read: {_why(error)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(f"the settings file {file} can't be read: {_why(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationInvalid(f"{file} is not TOML: {error}") from None
    except (RecursionError, ValueError):  # what tomllib doesn't check: the depth of lists, the digits of numbers
        raise ConfigurationInvalid(f"{file}: a list is too deep, or a number too long") from None


def _text_of(file: Path) -> str:
    """A file that an operator names, which may be a pipe or a device without an end; raises OSError, UnicodeError.

    A named pipe is refused: opening one that nothing writes to waits without a timeout.
    """
    if file.is_fifo() and not str(file).startswith(DESCRIPTORS):
        raise OSError(errno.EINVAL, "it is a named pipe; allowed is a file, or a pipe as <(…) passes it")
    with file.open("rb") as opened:
        data = opened.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_FILE} bytes")
    return data.decode()


def _why(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "it fails" if isinstance(error, OSError) else "it is not UTF-8"


def _from_file(file: Path, table: Mapping[str, Any]) -> Iterator[tuple[Setting, tuple[object, Origin]]]:
    """Of each setting in the file, its value and its place; raises ConfigurationInvalid."""
    by_place = {str(one): one for one in SETTINGS}
    for name, value in table.items():
        if name in by_place:
            yield by_place[name], (value, Origin("file", f"{file}: {name}"))
        elif name not in GROUPS or not isinstance(value, dict):
            raise ConfigurationInvalid(f"{file}: {_unknown_key(name, value)}")
        else:
            for key, inner in value.items():
                if f"{name}.{key}" not in by_place:
                    raise ConfigurationInvalid(f"{file}: {_unknown_key(f'{name}.{key}', inner)}")
                yield by_place[f"{name}.{key}"], (inner, Origin("file", f"{file}: {_key(f'{name}.{key}')}"))


def _validated(given: Given, file: Path | None) -> Configuration:
    origins = {setting: origin for setting, (_, origin) in given.items()}
    try:
        settings = Settings.of(**{setting.flat: value for setting, (value, _) in given.items()})
    except ValidationError as error:
        mistakes = {of_location(one["loc"]): one for one in reversed(error.errors(include_url=False))}
        raise ConfigurationInvalid(
            "; ".join(_mistake(setting, one, origins) for setting, one in reversed(mistakes.items()))
        ) from None
    if file:
        settings = settings.replace(**dict(_relative(settings, origins, file.absolute().parent)))
    return Configuration(settings, origins, file)


def _relative(settings: Settings, origins: Mapping[Setting, Origin], folder: Path) -> Iterator[tuple[str, object]]:
    """The paths that the file names, which are relative to its folder."""
    for setting in (one for one, origin in origins.items() if origin.kind == "file"):
        value = setting.value(settings)
        if isinstance(value, Path):
            yield setting.flat, folder / value
        elif isinstance(value, dict):
            yield setting.flat, {key: folder / one if isinstance(one, Path) else one for key, one in value.items()}


def _label(setting: Setting, origins: Mapping[Setting, Origin]) -> str:
    return origins[setting].name if setting in origins else PREFIX + setting.name


def _mistake(setting: Setting, error: ErrorDetails, origins: Mapping[Setting, Origin]) -> str:
    """One of pydantic's errors: where it was set, to what, what is allowed."""
    inside = [str(part) for part in error["loc"][len(str(setting).split(".")) :]]
    where = _label(setting, origins)
    said = error["msg"].removeprefix("Value error, ") if error["type"] == "value_error" else ""
    if inside and isinstance(setting.info.default, dict):
        where, said = f"{where}: {'.'.join(inside)}", said or error["msg"]
    sent = f"{shown(error['input'])} was set; " if setting in origins and not setting.hidden else ""
    return f"{where}: {sent}{said or f'allowed is {setting.allowed}'}"


def shown(value: object) -> str:
    """A value for a message: as JSON, cut; a text that may have a password in it not at all."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python writes no number of that many digits
        return "a number too long to show"
    if "@" in text:
        return "a text with a user or password in it"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _key(place: str) -> str:
    """`web.port` → `[web] port`."""
    group, _, field = place.rpartition(".")
    return f"[{group}] {field}" if group else field


def _unknown_key(place: str, value: object) -> str:
    """What to do about a table or key of the file that is none."""
    if place in GROUPS:
        return f"{place} is a table: write [{place}], and its settings below it"
    group, _, field = place.rpartition(".")
    same = [str(one) for one in SETTINGS if one.field == field or field.upper().removeprefix(PREFIX) in one.variables]
    if not group and isinstance(value, dict):
        return f"[{place}] is no table of settings{_perhaps(place, GROUPS, '[{}]')}"
    here = {one.field: str(one) for one in SETTINGS if one.group == group}
    anywhere = {one.field: str(one) for one in SETTINGS}
    near = [known[one] for known in (here, anywhere) for one in difflib.get_close_matches(field, known, 1, SIMILAR)]
    found = next(iter([*same, *near]), None)
    return f"{_key(place)} is not a setting" + (f"; did you mean {_key(found)}?" if found else LISTED)


LISTED = "; `tintype config show` lists them all"


def _unknown_variable(variable: str, name: str) -> str:
    """What to do about a variable that looks like a setting and is none, such as a typing mistake."""
    if name in REPLACED:
        return f"{variable} is no setting any more: {REPLACED[name]}"
    by_place = {str(one).replace(".", "_").upper(): one.name for one in SETTINGS}
    if name in by_place:  # as its place in a file would suggest
        return f"{variable} is not a setting; did you mean {PREFIX}{by_place[name]}?"
    return f"{variable} is not a setting{_perhaps(name, VARIABLES, PREFIX + '{}')}"


def _perhaps(name: str, known: Iterable[str], form: str) -> str:
    near = difflib.get_close_matches(name, list(known), 1, SIMILAR)
    return f"; did you mean {form.format(near[0])}?" if near else LISTED
