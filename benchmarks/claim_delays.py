"""`python -m benchmarks.claim_delays`: how long requests wait for an idle worker, on both databases."""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path
from statistics import median

from sqlalchemy import select
from tests.acceptance.harness import Server, until
from tests.databases import postgres_server
from tests.toy_weights import small_setting

from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.store.db.tables import requests

SLUG = SD35_TURBO_TXT2IMG.slug
SMALLEST = {"prompt": "a fox", "width": 64, "height": 64, "steps": 1, "guidance_scale": 1}
NUMBER = 100


def submit_when_idle(server: Server) -> None:
    """One request, its end, and a pause that is no multiple of any poll."""
    http = server.http()
    id = http.post(f"/v2/{SLUG}", json=SMALLEST).json()["request_id"]
    until(lambda: http.get(f"/v2/requests/{id}/status").json()["status"] == "COMPLETED")
    time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - nothing secret


def milliseconds(server: Server) -> list[float]:
    """From each request's arrival to its claim, by the database's clock, the shortest first."""
    waited = select(requests.c.started_at - requests.c.submitted_at)
    with server.store() as db, db.read() as view:
        return sorted(1000 * float(seconds) for seconds in view.scalars(waited))


def measure(name: str, folder: Path, **settings: object) -> None:
    """Print the figures of one database."""
    server = Server(folder / name, weights=small_setting(folder / "weights"), **settings).start()
    for _ in range(NUMBER):
        submit_when_idle(server)
    delays = milliseconds(server)
    if server.stop():
        raise RuntimeError("the server did not stop by itself")
    figures = f"median {median(delays):.1f}, 95 % {delays[NUMBER * 95 // 100]:.1f}, max {delays[-1]:.1f} ms"
    print(f"{name}: {figures} (load {os.getloadavg()[0]:.1f})")  # noqa: T201 - what it is for


def main() -> None:
    """Both databases, one after the other; on PostgreSQL by the bell alone."""
    with tempfile.TemporaryDirectory(prefix="tintype-delays-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        with postgres_server(folder / "server") as postgres:
            measure("postgres", folder, database_url=postgres.empty(), poll_with_bell=3600)
        measure("sqlite", folder)


if __name__ == "__main__":
    main()
