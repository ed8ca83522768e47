"""How much of tintype one warm request runs through: `python -m tests.footprint [--list] [--all] …`.

A real `tintype serve` with its worker process, on SQLite and the built-in weights, is sent the same
`POST /v2/stable-diffusion-3.5-turbo-txt2img` several times over one connection, as clients do, each after a while
without any; the first one, which loads the model, doesn't count. A profile hook in both processes notes every call of a
function of tintype's with the path of such functions that it came by. What is counted of each round:

- what runs from the POST until the row in the database is COMPLETED, and `AFTERWARDS` more, so that how soon that is
  seen changes nothing: the answer to the POST, the claim, the drawing with its heartbeats, the file, the end of the
  request. No status, result or file is asked for.
- of that, the functions with a path that isn't an idle server's, and those on the path that were called in that time:
  polling for requests and idle heartbeats aren't the request's, but a claim is that finds one. Nothing is that begins
  with a function that a thread ever ran without a request: those are background jobs.
- what more than half of the rounds ran; and a path is idle if it occurred in more than half of the pauses.
- functions and methods by their qualified names, properties and inner functions among them; a module counts with its
  first function. Not counted: modules' and classes' bodies, lambdas, comprehensions, what dataclasses generate.

The tracing uses no name of tintype's inside: the command line, the API, and the table `requests` are all that it knows.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.measurements import measured, modules

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "tintype"
#: Where a process with the hook writes what it noted.
NOTES = "FOOTPRINT_NOTES"
KEY = "SG_0123456789abcdef0123456789abcdef"
SLUG = "stable-diffusion-3.5-turbo-txt2img"
#: Long enough, at the hook's pace, for two heartbeats.
BODY = {"prompt": "a fox", "width": 256, "height": 256, "steps": 20}
SETTINGS = {"heartbeat": 0.1, "threads": 1, "bootstrap_key": KEY, "weights": "{}"}
ROUNDS = 7
#: Seconds without a request before the first, which is longer than any background job's interval but the expiry's.
LONG_IDLE = 10.0
#: Seconds without a request before each of the others; those after COMPLETED that are the request's; and then as many
#: that are neither its own nor idle.
IDLE, AFTERWARDS = 2.0, 0.5


# In the processes that are watched


class Hook:
    """Notes when which functions are called, by the path of functions on the stack."""

    def __init__(self) -> None:
        #: Of a path, by the path before and the function that it ends in.
        self.numbers: dict[tuple[int, CodeType], int] = {}
        #: Seconds of the system's monotonic clock, by path.
        self.times: list[list[float]] = [[]]
        self._own = threading.local()
        self._lock = threading.Lock()
        self._counted: dict[CodeType, bool] = {}

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event not in ("call", "return") or not self._counts(frame.f_code):
            return
        if not hasattr(self._own, "stack"):
            self._own.stack = []
        stack: list[int] = self._own.stack
        if event == "return":
            if stack:
                stack.pop()
            return
        stack.append(path := self._path(stack[-1] if stack else 0, frame.f_code))
        self.times[path].append(time.monotonic())

    def _counts(self, code: CodeType) -> bool:
        if code not in self._counted:
            # `<module>`, `<lambda>`, `<genexpr>`; a class's body has no new locals.
            function = not code.co_name.startswith("<") and bool(code.co_flags & 2)
            self._counted[code] = function and code.co_filename.startswith(f"{PACKAGE}/")
        return self._counted[code]

    def _path(self, before: int, code: CodeType) -> int:
        if (number := self.numbers.get((before, code))) is None:
            with self._lock:
                number = self.numbers.setdefault((before, code), len(self.times))
                if number == len(self.times):
                    self.times.append([])
        return number

    def write(self, folder: Path) -> None:
        """Leave everything in a file of this process."""
        names = {
            number: (before, code.co_filename, code.co_qualname) for (before, code), number in self.numbers.items()
        }
        paths = [[*names[number], self.times[number]] for number in range(1, len(self.times))]
        (folder / f"{os.getpid()}.json").write_text(json.dumps(paths))


def install() -> None:
    """Watch this process from now on; what it noted is written when it ends."""
    hook, folder, process, leave = Hook(), Path(os.environ[NOTES]), os.getpid(), os._exit

    def write_and_leave(code: int) -> None:
        if os.getpid() == process:  # a fork has a copy of the notes
            hook.write(folder)
        leave(code)

    atexit.register(hook.write, folder)
    os._exit = write_and_leave  # type: ignore[assignment]  # by which a worker ends
    threading.setprofile(hook)
    sys.setprofile(hook)


# Here


@dataclass(frozen=True)
class Round:
    """The moments of one request, in seconds: when the pause before it began, its POST, when it was over."""

    idle: float
    sent: float
    over: float


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server with the hook in all of its processes → its address."""
    (folder / "sitecustomize.py").write_text("from tests.footprint import install\n\ninstall()\n")
    search = os.pathsep.join(map(str, (folder, ROOT, ROOT / "src")))
    settings = {f"TINTYPE_{name.upper()}": str(value) for name, value in SETTINGS.items()}
    env = {**os.environ, **settings, "PYTHONPATH": search, NOTES: str(folder)}
    command = [sys.executable, "-m", "tintype", "serve", "--port", "0", "--data", str(folder / "data")]
    log = (folder / "server.log").open("w")
    with log, subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True) as server:
        try:
            assert server.stdout
            ready = next((line for line in server.stdout if line.startswith("tintype is ready at ")), "")
            if not ready:
                sys.exit((folder / "server.log").read_text())
            yield ready.split()[-1]
        finally:
            server.terminate()
            server.wait(60)


def rounds(address: str, database: Path) -> list[Round]:
    """Send the requests; the first only loads the model, after a pause that has every background job in it."""
    made: list[Round] = []
    client = HTTPConnection(urlsplit(address).netloc)
    time.sleep(AFTERWARDS)  # `/ready` was asked for
    for pause in (LONG_IDLE, *[IDLE] * ROUNDS):
        idle = time.monotonic()
        time.sleep(pause)
        sent = time.monotonic()
        draw(client, database)
        time.sleep(AFTERWARDS)
        made.append(Round(idle, sent, time.monotonic()))
        time.sleep(AFTERWARDS)
    client.close()
    return made


def draw(client: HTTPConnection, database: Path) -> None:
    """One request, until its row is COMPLETED."""
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    client.request("POST", f"/v2/{SLUG}", json.dumps(BODY).encode(), headers)
    id = json.load(client.getresponse())["request_id"]
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    until = time.monotonic() + 120
    while (status := db.execute("SELECT status FROM requests WHERE id = ?", (id,)).fetchone()[0]) != "COMPLETED":
        if status == "FAILED" or time.monotonic() > until:
            sys.exit(f"the request did not complete: {status}")
        time.sleep(0.005)
    db.close()


class Called(NamedTuple):
    """A path of functions: what `Hook.write` left of it."""

    #: The number of the path that it continues, from 1; 0 where a thread began with this function.
    before: int
    file: str
    name: str
    times: list[float]


#: Module and qualified name.
Function = tuple[str, str]


def functions(paths: list[Called], made: list[Round]) -> Counter[Function]:
    """The functions of one process, and in how many rounds each ran for the request."""
    first, *made = made
    numbers = range(1, len(paths) + 1)

    def within(since: float, until: float) -> set[int]:
        return {number for number in numbers if any(since <= moment <= until for moment in paths[number - 1].times)}

    def stack(number: int) -> list[int]:
        """The path and those that it continues, back to the first function of the thread."""
        found = [number]
        while before := paths[found[-1] - 1].before:
            found.append(before)
        return found

    pauses = Counter(number for one in made for number in within(one.idle, one.sent))
    idle = {number for number, count in pauses.items() if count > ROUNDS / 2}
    jobs = within(first.idle, first.sent) | pauses.keys()
    found: Counter[Function] = Counter()
    for one in made:
        ran = within(one.sent, one.over)
        stacks = [path for number in ran - idle if (path := stack(number))[-1] not in jobs]
        own = {number for path in stacks for number in path} & ran
        found.update({(module(paths[number - 1].file), paths[number - 1].name) for number in own})
    return found


def module(file: str) -> str:
    """`tintype.web.generate.v2` of its file."""
    parts = Path(file).relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def traced() -> list[Function]:
    """Run it all: the functions that more than half of the requests ran, in any process."""
    with tempfile.TemporaryDirectory(prefix="footprint-") as place:
        folder = Path(place)
        with serving(folder) as address:
            wait_for_worker(address)
            made = rounds(address, folder / "data" / "tintype.db")
        notes = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    found = [functions([Called(*one) for one in paths], made) for paths in notes]
    if len([one for one in found if one]) < 2:
        sys.exit("the server and its worker should have left notes")
    return sorted({function for one in found for function, count in one.items() if count > ROUNDS / 2})


def wait_for_worker(address: str) -> None:
    """Until `/ready` says that there is one."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{address}/ready"):
                return
        except OSError:
            time.sleep(0.2)
    sys.exit("no worker came")


def package(module: str) -> str:
    """`tintype.web` of all that is in it; a module of the top by its own name."""
    return ".".join(module.split(".")[:2])


def report(found: list[Function], *, listed: bool) -> str:
    """The counts by package, and all names if they are wanted."""
    modules = {module for module, _ in found}
    lines = [f"{name}.{function}" for name, function in found] if listed else []
    lines.append(f"{'':24}{'modules':>8}{'functions':>10}")
    for name in sorted({package(one) for one in modules}):
        own = [one for one in found if package(one[0]) == name]
        lines.append(f"{name:24}{len({one for one, _ in own}):8}{len(own):10}")
    return "\n".join([*lines, f"{'one warm POST /v2':24}{len(modules):8}{len(found):10}"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the modules and functions that one warm POST /v2 runs.")
    parser.add_argument("--all", action="store_true", help="print what the code measures, too (tests/measurements.py)")
    parser.add_argument("--list", action="store_true", help="print every function, too")
    parser.add_argument("--max-modules", type=int, metavar="N", help="exit with 1 where there are more")
    parser.add_argument("--max-functions", type=int, metavar="N", help="the same")
    asked = parser.parse_args()
    if asked.all:
        print(measured(modules()), end="\n\n", flush=True)  # noqa: T201
    found = traced()
    print(report(found, listed=asked.list))  # noqa: T201
    counts = len({module for module, _ in found}), len(found)
    limits = asked.max_modules, asked.max_functions
    return int(any(limit is not None and count > limit for count, limit in zip(counts, limits, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
