"""docs/api.md as its reader has it: the examples from top to bottom in one shell, their files saved under their names.

A `sh` block is run, a `json` or `text` block is what the one before it prints, and any other is the file that its first
line names. README.md's calls of a server run too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import OLD, new_key, opened, submit
from tests.clients import NO_TLS
from tintype.catalog.models import MODELS
from tintype.store.db.records import draw_secret
from tintype.webhooks import sign

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/api.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
#: A block of README.md and docs/sdk.md that needs a server.
CALL = re.compile(r" {4}(?:export KEY=|curl |(?:import os\n {4})?from (?:segmind|tintype)\S* import )")
SHOWN = ("json", "text")
FILE = re.compile(r"\b(\w+\.(py|mjs|php|yml))\b")
#: How a file is run; `{port}` is for those that listen.
COMMANDS = {
    "py": [sys.executable, "{file}", "{port}"],
    "mjs": ["node", "{file}", "{port}"],
    "php": ["php", "-S", "127.0.0.1:{port}", "{file}"],
}
ADDRESS, RECEIVER = "http://127.0.0.1:8000", "9000"
#: What differs from run to run; the page cuts the long ones short.
VARIES = (
    (r"[0-9a-f]{8}-(?:…|(?:[0-9a-f]{4}-){3}[0-9a-f]{12})", "ID"),
    (r"\b[0-9a-f]{4}(?:…|[0-9a-f]{28})(?=\.\w)", "NAME"),
    (r"\b(SG_(?:test)?|whsec_|msg_)[\w+/=]+…?", r"\1SECRET"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "TIME"),
    (r"\d+(?:\.\d+)?", "N"),
)
#: Only where a model had to be loaded.
LOADED = "cold"


def masked(text: str) -> str:
    for pattern, mask in VARIES:
        text = re.sub(pattern, mask, text)
    return text


def shape(value: Any) -> Any:
    """JSON without what differs from run to run: where a number may be null, either is 0 here."""
    match value:
        case dict():
            return {name: shape(one) for name, one in value.items() if LOADED not in name}
        case list():
            return [shape(one) for one in value]
        case str():
            return masked(value)
        case bool():
            return value
    return 0


def cut(found: Any, shown: Any) -> Any:
    """What was found, without the members that the page leaves out by a member `…`."""
    if isinstance(found, dict) and isinstance(shown, dict):
        more = {"…": "…"} if "…" in shown else {}
        return {name: cut(one, shown.get(name)) for name, one in found.items() if not more or name in shown} | more
    if isinstance(found, list) and isinstance(shown, list):
        return [cut(one, shown[0] if shown else None) for one in found]
    return found


def lines(text: str) -> list[str]:
    """In order of their letters: headers have none of their own."""
    return sorted(masked(line.strip()) for line in text.strip().splitlines() if LOADED not in line)


def files() -> dict[str, str]:
    """The page's programs by the name in their first line."""
    found = {}
    for kind, body in BLOCK.findall(PAGE):
        if kind not in ("sh", *SHOWN):
            name = FILE.search(body.partition("\n")[0])
            assert name, body[:80]
            found[name[1]] = body
    return found


def run(script: str, folder: Path, env: Mapping[str, str]) -> str:
    """What bash prints; a command that fails ends it."""
    (folder / "script.sh").write_text(f"trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{script}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["timeout", "100", "bash", "-euo", "pipefail", "script.sh"]
    whole = {**os.environ, "NO_PROXY": "*", "PATH": path, **env}
    done = subprocess.run(command, cwd=folder, env=whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def needs(*tools: str) -> None:
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")


def test_every_example_of_the_page_runs(builtin: Server, tmp_path: Path) -> None:
    needs("bash", "curl", "jq")
    for name, body in files().items():
        (tmp_path / name).write_text(body, "utf-8")
    blocks = BLOCK.findall(PAGE)
    script = "".join(f"printf '\\n@@@{index}\\n'\n{body}" for index, (kind, body) in enumerate(blocks) if kind == "sh")
    port, key = str(free_port()), new_key(builtin, 10)
    mine = {ADDRESS: builtin.address, re.search(r"KEY=(\S+)", script)[1]: key, RECEIVER: port}
    for theirs, own in mine.items():
        script = script.replace(theirs, own)
    out = run(script, tmp_path, {}).replace(builtin.address, ADDRESS).replace(f":{port}", f":{RECEIVER}")
    _, *parts = re.split(r"\n@@@(\d+)\n", out)
    printed = dict(zip(parts[::2], parts[1::2], strict=True))
    for index, (kind, body) in enumerate(blocks):
        if kind != "sh":
            continue
        said = printed[str(index)]
        match blocks[index + 1] if index + 1 < len(blocks) else ("", ""):
            case "json", shown:
                wanted = shape(json.loads(shown))
                assert cut(shape(json.loads(said)), wanted) == wanted, body
            case "text", shown:
                assert lines(said) == lines(shown), body
            case _:
                assert '"error":"' not in said, f"{body}\n{said}"
    for image in tmp_path.glob("*.jpeg"):
        opened(image.read_bytes())


def test_every_address_is_on_the_page(builtin: Server) -> None:
    slugs = re.compile("|".join(map(re.escape, sorted(MODELS, key=len, reverse=True))))
    names, pages = re.compile(r"{\w+}"), PAGE + (ROOT / "docs/dialects.md").read_text("utf-8")
    operations = {
        f"`{method.upper()} {names.sub('{}', slugs.sub('{model}', path))}`"
        for path, methods in builtin.http(None).get("/openapi.json").json()["paths"].items()
        for method in methods
        if path != "/" and not path.startswith("/v2/operator")
    }
    assert len(operations) > 35
    assert operations - {*re.findall(r"`[A-Z]+ /\S*`", names.sub("{}", pages))} == set()


@pytest.mark.parametrize("page", ["README.md", "docs/sdk.md"])
def test_the_calls_of_other_pages_run(builtin: Server, tmp_path: Path, page: str) -> None:
    needs("bash", "curl")
    text = (ROOT / page).read_text("utf-8")
    blocks = [block for block in re.findall(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", text, re.M) if CALL.match(block)]
    assert blocks
    sample = builtin.http(None).get("/sd-img2img-input.jpeg").content
    (tmp_path / "photo.jpg").write_bytes(sample)
    codes = [re.sub(r"^ {4}", "", block, flags=re.M).replace(ADDRESS, builtin.address) for block in blocks]
    python = [code for code in codes if code.startswith(("import ", "from "))]
    (tmp_path / "code.py").write_text("\n".join(['import os\nKEY = os.environ["KEY"]\n', *python]))
    shell = [re.sub(r"^export KEY=.*\n", "", code) for code in codes if code not in python]
    run("\n".join([*shell, "python3 code.py"]), tmp_path, {"KEY": new_key(builtin, 1)})
    for image in tmp_path.glob("*.jpeg"):
        opened(image.read_bytes())


# The programs by themselves: what the page's own way through them doesn't show


@contextmanager
def started(folder: Path, file: str, port: int = 0, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A program of the page; skips where its language isn't on this machine."""
    command = [part.format(file=file, port=port) for part in COMMANDS[file.rpartition(".")[2]]]
    needs(command[0])
    for name, body in files().items():
        (folder / name).write_text(body, "utf-8")
    pipes: Mapping[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, **pipes)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("file", ["receiver.py", "receiver.mjs", "receiver.php"])
def test_a_receiver_takes_what_is_signed_and_nothing_else(tmp_path: Path, file: str) -> None:
    mine, other, body, moment = draw_secret(), draw_secret(), b'{"type": "REQUEST_COMPLETED"}', int(time.time())
    genuine = sign([mine], "msg_1", moment, body)
    changed = [(name, value.replace("msg_1", "msg_2")) for name, value in genuine]
    messages = (
        (204, genuine, body),
        (204, sign([other, mine], "msg_1", moment, body), body),  # within a day of a rotation
        (401, sign([other], "msg_1", moment, body), body),
        (401, genuine, body + b" "),
        (401, changed, body),
        (401, sign([mine], "msg_1", moment - 600, body), body),
        (401, [], body),
    )
    port = free_port()
    with started(tmp_path, file, port, SECRET=mine) as process, httpx2.Client(verify=NO_TLS, timeout=60) as http:
        until(lambda: listens(port))
        for wanted, headers, sent in messages:
            answer = http.post(f"http://127.0.0.1:{port}/hook", content=sent, headers=headers)
            assert answer.status_code == wanted, headers
        process.terminate()
        out, _ = process.communicate(timeout=30)
    assert out.count(body.decode()) == 2


@contextmanager
def cutting(server: Server) -> Iterator[tuple[str, list[str]]]:
    """The server behind a proxy that breaks off the first stream after one event; its address, and what was resumed."""
    resumed: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            resumed.append(self.headers.get("last-event-id", ""))
            sent = {
                name: value for name, value in self.headers.items() if name.lower() in ("x-api-key", "last-event-id")
            }
            with httpx2.stream("GET", server.address + self.path, headers=sent, timeout=60, verify=NO_TLS) as answer:
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers["content-type"])
                self.end_headers()
                for line in answer.iter_lines():
                    self.wfile.write(f"{line}\n".encode())
                    if not line and len(resumed) == 1:
                        return

        def log_message(self, format: str, *args: Any) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}", resumed
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


#: How a page's script uses the browser's example, here in Node.
READS = """
import { events } from "./follow.mjs";
const [base, key, id] = process.argv.slice(2);
for await (const { name, data } of events(base, key, id)) console.log(name, data.status ?? "");
"""


@pytest.mark.parametrize("file", ["follow.py", "follow.mjs"])
def test_a_stream_that_breaks_is_followed_to_its_end(builtin: Server, tmp_path: Path, file: str) -> None:
    key = new_key(builtin, 1)
    (tmp_path / file).write_text(files()[file], "utf-8")
    (tmp_path / "reads.mjs").write_text(READS)
    params = {"prompt": "a fox", "image": "/sd-img2img-input.jpeg", "num_inference_steps": 30}
    with cutting(builtin) as (address, resumed):
        id = submit(builtin.http(key), OLD, params)
        command, env = [sys.executable, file, id], {**os.environ, "BASE": address, "KEY": key, "NO_PROXY": "*"}
        if file.endswith("mjs"):
            needs("node")
            command = ["node", "reads.mjs", address, key, id]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[-1] == "completed COMPLETED"
    assert len(resumed) == 2
    assert resumed[1].startswith("1-")
    assert told.count("started PROCESSING") <= 1
