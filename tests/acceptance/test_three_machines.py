"""docs/three-machines.md, typed as it stands: every command in its order, on three machines made of namespaces.

A reader's machine differs from these in what REPLACED and NOT_RUN say, and in nothing else.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from tests.acceptance.machines import Machine
from tests.acceptance.nginx import NGINX, WHOLE
from tests.databases import server_program
from tests.integration.toyhub import toy_hub
from tests.network_namespaces import Host, Network, why_not
from tests.toy_weights import SMALL, toy_weights
from tintype.catalog.models import SOURCES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/three-machines.md").read_text("utf-8")
ADDRESSES = {"data": "10.0.0.1", "web": "10.0.0.2", "gpu": "10.0.0.3", "gpu-2": "10.0.0.4"}
SOURCE = SOURCES["sd1.5-img2img"]

#: What is typed otherwise here, and why. Also, the paths that tests/acceptance/systemctl.py names as OWN lie below a
#: folder per machine, and that file is the `systemctl`: it runs what the unit files say.
REPLACED = {
    "createuser --pwprompt tintype": "createuser --pwprompt tintype <<< $'PASSWORD\nPASSWORD'",  # nobody types here
    "sudo -u postgres ": "PGUSER=postgres PGHOST=$SOCKET ",  # here the server's superuser is let in by its socket
    "/srv/tintype/": "$CHECKOUT/",  # the checkout
    "nginx -t": "nginx -t -q -c /etc/nginx/nginx.conf",  # its main file is in the machine's own folder
    "@cuda:0": "@cpu",  # no GPU
    "scp ": "cp ",  # the machines share a disk
    "gpu-2:/": "$FOLDERS/gpu-2/",
}
#: Commands that are left out here, and why.
NOT_RUN = {
    "python3 -m venv /opt/tintype": "minutes of downloads; the environment of these tests stands at its place",
    "/opt/tintype/bin/pip install --constraint /srv/tintype/constraints.txt '/srv/tintype[postgres,s3]'": "the same",
}


@dataclass
class Block:
    """A part of the page that is done on machines: commands to type, or a file to write."""

    machines: list[str]
    #: Of a file; empty for commands.
    path: str
    text: str


def blocks() -> Iterator[Block]:
    """The page's fenced blocks; the first line of each says where it belongs."""
    for body in re.findall(r"^```\w+\n(.*?)^```$", PAGE, re.M | re.S):
        first, _, text = body.partition("\n")
        path, machines = re.fullmatch(r"#(?: (/\S+))? on ([\w, -]+)", first).groups("")
        yield Block(machines.split(", "), path, text)


def commands(text: str) -> Iterator[str]:
    """A block's commands, each in one piece."""
    yield from text.replace("\\\n", "").splitlines()


def test_what_is_left_out_or_replaced_is_on_the_page() -> None:
    typed = [command for block in blocks() if not block.path for command in commands(block.text)]
    assert NOT_RUN.keys() <= set(typed)
    assert [what for what in REPLACED if not any(what in command for command in typed)] == []


def test_no_command_hides_outside_of_a_block_that_is_run() -> None:
    assert not re.findall(r"^(?: {4}|\t)\S", PAGE, re.M)
    assert PAGE.count("```") == 2 * len(list(blocks()))


def test_a_command_that_fails_is_not_passed_over(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    host = Host()
    machine = Machine("alone", host, tmp_path / "alone")
    assert machine.run("GREETING=hello\nhostname") == "alone\n"
    assert machine.run("echo -n $GREETING") == "hello"
    with pytest.raises(AssertionError, match="No such file"):
        machine.run("cat /no/such/file | wc --lines\ntouch went-on")
    assert not (tmp_path / "alone/root/went-on").exists()
    machine.off()
    host.close()


@pytest.fixture
def machines(tmp_path: Path, weights: Path) -> Iterator[dict[str, Machine]]:
    """The machines as an operator gets them: PostgreSQL and nginx installed, a storage without a bucket, a name."""
    if reason := why_not():
        pytest.skip(reason)
    if missing := [name for name in ("aws", "curl", "openssl", "createuser", "unshare") if not shutil.which(name)]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    if NGINX is None or server_program("initdb") is None:
        pytest.skip("no nginx, or none of PostgreSQL's server programs, on this machine")
    with ExitStack() as closing:
        network = Network()
        closing.callback(network.close)
        socket = Path(tempfile.mkdtemp(prefix="tintype-pg-"))
        closing.callback(shutil.rmtree, socket)
        # Of tests everywhere, and of what is quick: toys need no more than one core.
        quick = {
            "TINTYPE_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "TINTYPE_DTYPE": "float32",
            "TINTYPE_HEARTBEAT": "0.25",
        }
        env = {
            "SERVICES": " ".join(f"{name}={value}" for name, value in quick.items()),
            "CHECKOUT": str(ROOT),
            "SOCKET": str(socket),
            "FOLDERS": str(tmp_path),
            "CURL_HOME": str(tmp_path),
        }
        hub = _hub(network, closing, weights)
        made = {}
        for name, address in ADDRESSES.items():
            made[name] = Machine(name, network.host(address), tmp_path / name, HF_ENDPOINT=hub, **env)
            closing.callback(made[name].off)
            _installed(tmp_path / name)
        _postgres(made["data"], socket)
        _nginx(made["web"], tmp_path)
        with network.host(ADDRESSES["data"]).entered():
            storage = ThreadedMotoServer(ADDRESSES["data"], 9000, verbose=False)
            storage.start()
            closing.callback(storage.stop)
        made["data"].run("curl --fail --silent --request POST http://10.0.0.1:9000/moto-api/reset")
        yield made


def _hub(network: Network, closing: ExitStack, weights: Path) -> str:
    """A hub from which the worker's machine pulls toy weights under the real ones' name; its address."""
    for address in ADDRESSES.values():
        network.add(address)
    with network.host(ADDRESSES["gpu"]).entered():
        hub = closing.enter_context(toy_hub())
    small = {"tintype.json": json.dumps({"native_size": SMALL}).encode()}
    hub.add(SOURCE.repository, toy_weights("sd15", weights), **small).commits[SOURCE.revision] = SOURCE.revision
    return hub.address


def _installed(folder: Path) -> None:
    """What installing leaves behind: the environment of these tests in place of one of its own."""
    (folder / "opt/tintype").symlink_to(ROOT / ".venv")


def _postgres(machine: Machine, folder: Path) -> None:
    """A cluster as Debian makes one, but for its superuser's way in: the socket in a folder."""
    folder.chmod(0o755)
    shutil.chown(folder, "nobody")
    data = folder / "data"
    how = ["--auth-local=trust", "--auth-host=scram-sha-256", "--username=postgres", "--no-sync", "--wal-segsize=1"]
    initdb = [server_program("initdb"), *how, "--pgdata", data]
    subprocess.run(initdb, check=True, user="nobody", stdout=subprocess.DEVNULL, cwd=folder)
    start = f"{server_program('postgres')} -D {data} -k {folder} -c fsync=off"
    ready = f"ExecStartPost=sh -c 'until pg_isready -q -h {folder}; do sleep 0.1; done'\n"
    _unit(machine, "postgresql", f"User=nobody\nExecStart={start}\n{ready}")
    machine.run("systemctl start postgresql")


def _nginx(machine: Machine, home: Path) -> None:
    """nginx as it runs after its installation, a certificate for the name, and the name itself for curl."""
    etc = machine.folder / "etc"
    (etc / "nginx/conf.d").mkdir(parents=True)
    names = etc / "letsencrypt/live/pictures.example"
    names.mkdir(parents=True)
    subject = ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    files = ["-keyout", names / "privkey.pem", "-out", names / "fullchain.pem"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(["openssl", "req", "-x509", *curve, *files, *subject], check=True, stderr=subprocess.DEVNULL)
    (home / ".curlrc").write_text(
        f'resolve = "pictures.example:443:{ADDRESSES["web"]}"\ncacert = {names}/fullchain.pem\n'
    )
    whole = WHOLE.format(folder=machine.folder / "run").replace(
        f"{machine.folder}/run/site.conf", f"{etc}/nginx/conf.d/*.conf"
    )
    (etc / "nginx/nginx.conf").write_text(whole)
    _unit(machine, "nginx", f"ExecStart={NGINX} -e stderr -c /etc/nginx/nginx.conf\nExecReload=kill -HUP $MAINPID\n")
    machine.run("systemctl start nginx")


def _unit(machine: Machine, name: str, text: str) -> None:
    (machine.folder / f"etc/systemd/system/{name}.service").write_text(text)


def typed(text: str) -> str:
    """A block as it is typed here."""
    text = "\n".join(command for command in commands(text) if command not in NOT_RUN)
    for theirs, ours in REPLACED.items():
        text = text.replace(theirs, ours)
    return text


@pytest.mark.timeout(600)  # half a minute, but for what else the machine has to do
def test_every_command_of_the_page_in_its_order(machines: dict[str, Machine]) -> None:
    said = {}
    for block in blocks():
        for name in block.machines:
            if block.path:
                machines[name].write(block.path, block.text)
            else:
                said[block.text] = machines[name].run(typed(block.text))
    drawn = (machines["web"].folder / "root/picture.jpeg").read_bytes()
    assert Image.open(io.BytesIO(drawn)).format == "JPEG"
    [links] = [text for block, text in said.items() if "/v2/" in block]
    assert '"https://pictures.example/v2/requests/' in links
