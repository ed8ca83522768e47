"""A real nginx in front of a server."""

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
