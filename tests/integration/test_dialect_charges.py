"""What a caller is charged in the worst case, by API: the table of docs/clients.md, cell by cell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from tests.acceptance.harness import until
from tests.clients import call_bytes, dial
from tests.integration.website import PATIENT, Website, serving

from tintype.catalog.models import MODELS
from tintype.core import Json
from tintype.store.billing.ledger import dollars

SLUG = "stable-diffusion-3.5-turbo-txt2img"
PAGE = Path(__file__).parents[2] / "docs/clients.md"


class Asking(NamedTuple):
    """A call of an API that waits for its image, and its status where that does not come in time."""

    path: str
    body: Json
    ran_out: int
    wait: str = "wait=0"


APIS = {
    "OpenAI": Asking("/v1/images/generations", {"model": SLUG, "prompt": "a fox"}, 504),
    "AUTOMATIC1111": Asking(
        "/sdapi/v1/txt2img", {"prompt": "a fox", "override_settings": {"sd_model_checkpoint": SLUG}}, 504
    ),
    "Replicate": Asking(f"/v1/models/tintype/{SLUG}/predictions", {"input": {"prompt": "a fox"}}, 201, "wait=1"),
    "Comfy Router": Asking(f"/v2/models/tintype/{SLUG}", {"prompt": "a fox"}, 504),
}
KEYED = {"idempotency-key": "mine"}
LOST = "an answer is lost, and its call sent again"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """A server whose calls wait for as long as the test takes."""
    with serving(tmp_path_factory.mktemp("patient")) as website:
        yield website


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """A server whose calls don't wait."""
    with serving(tmp_path_factory.mktemp("hasty"), sync_timeout=0.01, **PATIENT) as website:
        yield website


@contextmanager
def caller(site: Website) -> Iterator[tuple[str, httpx2.Client]]:
    """A key of an account of its own, with a dollar, and its client."""
    site.beat()  # there is a worker, as far as the server knows
    secret = site.accounts.keys.create(site.accounts.create("caller", 1_000_000).id, "key")[1]
    with site.http(secret) as client:
        yield secret, client


def images(row: str, api: str) -> int:
    """How many images a cell of the page says that are charged."""
    table = [[one.strip() for one in line.split("|")[1:-1]] for line in PAGE.read_text("utf-8").splitlines()]
    [head] = [at for at, cells in enumerate(table) if cells[1:] == [*APIS]]
    [cells] = [cells for cells in table[head:] if cells[:1] == [row]]
    [words] = re.findall(r"nothing|one image|two images", cells[1 + [*APIS].index(api)])
    return ("nothing", "one image", "two images").index(words)


def charged(site: Website, http: httpx2.Client) -> int:
    """How many images the account has paid, once a worker has done what is left."""
    while (request := site.own.store.leases.claim("w1", idle=True)) is not None:
        site.complete(request)
    spent = 1 - float(http.get("/v1/get-user-credits").json()["credits"])
    return round(spent / dollars(MODELS[SLUG].tariff.price))


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("row", ["the caller disconnects while it waits", "it disconnects, with an `Idempotency-Key`"])
def test_the_caller_disconnects(patient: Website, api: str, row: str) -> None:
    asking, keyed = APIS[api], KEYED if "Key" in row else {}
    headers = {name.replace("-", "_"): value for name, value in ({"prefer": asking.wait} | keyed).items()}
    with caller(patient) as (secret, http):
        with dial(patient.address) as one:
            one.sendall(call_bytes("POST", asking.path, secret, json.dumps(asking.body).encode(), **headers))
            until(lambda: patient.own.store.queue.depth()[0])
        until(lambda: not patient.own.runtime.waits.open)  # the call has ended
        assert charged(patient, http) == images(row, api)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("row", ["the wait runs out", "the wait runs out, with an `Idempotency-Key`"])
def test_the_wait_runs_out(hasty: Website, api: str, row: str) -> None:
    asking, keyed = APIS[api], KEYED if "Key" in row else {}
    with caller(hasty) as (_, http):
        answer = http.post(asking.path, json=asking.body, headers={"prefer": asking.wait} | keyed)
        assert answer.status_code == asking.ran_out
        assert charged(hasty, http) == images(row, api)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("row", [LOST, f"{LOST}, with its `Idempotency-Key`"])
def test_an_answer_is_lost(patient: Website, api: str, row: str) -> None:
    asking, keyed = APIS[api], KEYED if "Key" in row else {}
    with caller(patient) as (_, http), ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            call = pool.submit(http.post, asking.path, json=asking.body, headers={"prefer": asking.wait} | keyed)
            until(lambda: call.done() or patient.own.store.queue.depth()[0])  # noqa: B023
            charged(patient, http)
            answer = call.result()
            assert answer.is_success
        assert answer.headers.get("idempotent-replayed") == ("true" if keyed else None)
        assert charged(patient, http) == images(row, api)
