"""A real nginx in front of servers, with the configuration that is shipped."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.acceptance.harness import until

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
#: What every one has; the site is included.
WHOLE = """
daemon off;
user root;
worker_processes 1;
error_log stderr;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/1;
    uwsgi_temp_path {folder}/2;
    scgi_temp_path {folder}/3;
    include {folder}/site.conf;
}}
"""


def shipped(*addresses: str, **changes: str) -> str:
    """deploy/nginx.conf with other addresses, its own and the servers'; changes: its limits, by zone."""
    text = CONFIGURATION.read_text()
    behind = "\n".join(f"server {address.removeprefix('http://')} max_fails=0;" for address in addresses)
    limits = [(f"tintype_{name} ", f"tintype_{name} {limit}; #") for name, limit in changes.items()]
    for ours, theirs in [("listen 80;", "listen 127.0.0.1:PORT;"), ("server web:8000 max_fails=0;", behind), *limits]:
        assert text.count(ours) == 1, ours
        text = text.replace(ours, theirs)
    return text


@contextmanager
def nginx(folder: Path, site: str) -> Iterator[str]:
    """nginx with a configuration for its `http` block, in which PORT is where it listens; its address."""
    if NGINX is None:
        pytest.skip("no nginx on this machine")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "site.conf").write_text(site.replace("PORT", str(port)))
    (folder / "nginx.conf").write_text(WHOLE.format(folder=folder))
    command = [NGINX, "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    try:
        until(listens)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
