"""`/openapi.json` against the server: whatever schemathesis sends is answered as documented, and never by a 5xx.

TINTYPE_EXAMPLES is how many examples an operation gets: a nightly run takes more of them than every change's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle, repeat
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks
from tests.acceptance.harness import until
from tests.clients import LONG
from tests.databases import ended_of
from tests.image_files import saved
from tests.integration.website import RESULT, Website, serving
from tests.stores import a_result

from tintype.store.db.records import Event, Request
from tintype.store.webhooks.predictions import prediction_id

EXAMPLES = int(os.environ.get("TINTYPE_EXAMPLES", "3"))
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
FEW = settings(
    max_examples=EXAMPLES,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: The model of addresses with an owner, and what its name is called here: `name` is a file's.
MODEL, OWNED = "stable-diffusion-3.5-turbo-txt2img", "name of an owner's"
#: That of the requests which are there.
OLD = "sd1.5-img2img"
#: The last one of what can't be done to what has ended: the worker here is too quick for more.
ANSWERED = {200, 201, 202, 204, 409}
RED = saved(Image.new("RGB", (8, 8), "red"))


def draw(site: Website, request: Request) -> None:
    """Complete a request with as many pictures as it wants, in the format that it wants."""
    format = request.generation.format if request.generation else "jpeg"
    about = {"size": len(RED), "width": 8, "height": 8}
    pictures = [{"name": site.own.files.outputs.put(RED, format), "seed": n, **about} for n in range(request.images)]
    made = a_result(**{**RESULT, "format": format, "pictures": pictures})
    assert site.own.store.leases.complete(request.id, request.attempt, made)


def work(site: Website, done: threading.Event) -> None:
    """A worker that draws nothing but red, and fails what has next to no prompt: none of the document's examples."""
    while True:
        while (request := site.own.store.leases.claim("w1", idle=True)) is None:
            if done.wait(0.005):
                return
        if len(request.params.get("prompt", "")) < 2:
            site.own.store.leases.fail(request.id, request.attempt, "no such picture", 400)
        else:
            draw(site, request)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Website]:
    done = threading.Event()
    with serving(tmp_path, heartbeat=3600) as site:  # one sign of life is enough
        site.own.store.accounts.credit(site.account_id, 10**12)
        site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
        # Most that is asked is its own account's; the rest is an operator's.
        site.key, site.secret = site.own.store.accounts.keys.create(site.account_id, "operator", operator=True)
        thread = threading.Thread(target=work, args=(site, done), daemon=True)
        thread.start()
        yield site
        done.set()
        thread.join(60)


def known(site: Website) -> dict[str, Iterator[Any]]:
    """By the names of parameters: things that are there, and one that isn't."""
    hook = site.own.store.webhooks.add(site.account_id, "https://receiver.example.com/", [Event.REQUEST_FAILED])
    done, ended = site.submit(), site.submit()
    site.own.store.queue.cancel(ended.id, site.account_id)
    until(lambda: ended_of(site.own.store.db, [done.id]))
    [told] = site.own.store.webhooks.outbox.logs(hook.id)
    spare, _ = site.own.store.accounts.keys.create(site.account_id, "spare")
    site.own.store.ops.workers.heartbeat("w2", "cpu", 0, 0)
    site.own.store.ops.workers.drain("w2")
    ids = cycle([done.id, ended.id, "another"])
    [output] = site.own.store.queue.find(done.id, site.account_id).result.outputs  # type: ignore[union-attr]
    files = cycle([site.own.files.outputs.put(RED, "png"), "x.png"])
    with site.http() as http:
        upload = http.post("/v1/files", files={"content": RED}).json()["id"]
        version = http.get(f"/v1/models/tintype/{MODEL}").json()["latest_version"]["id"]
    own = {
        "webhook_id": hook.id,
        "delivery_id": told.id,
        "key_id": spare.id,
        "worker_id": "w2",
        "slug": OLD,
        "model_id": "default",
        "version_id": version,
        "prediction_id": prediction_id(done.id),
        "file_id": upload,
    }
    names = cycle([[output.name], ["x.png"]])
    routed = {"owner": repeat("tintype"), "provider": repeat("tintype"), "model": repeat(OLD), OWNED: repeat(MODEL)}
    others = {name: cycle([id, "x"]) for name, id in own.items()}
    return {"request_id": ids, "name": files, "names": names, **routed, **others}


def place(case: Case, there: dict[str, Iterator[Any]]) -> None:
    """Ask mostly for what is there: hardly any name that is drawn is one."""
    for values in (case.path_parameters, case.query, case.body if isinstance(case.body, dict) else {}):
        for name in values.keys() & there.keys():
            values[name] = next(there[OWNED if name == "name" and "owner" in values else name])


@pytest.mark.timeout(600 + 60 * EXAMPLES)
def test_every_answer_is_a_documented_one(site: Website, subtests: pytest.Subtests) -> None:
    schema = schemathesis.openapi.from_url(f"{site.address}/openapi.json")
    there = known(site)
    with requests.Session() as session:
        session.headers["x-api-key"] = site.secret
        for operation in (found.ok() for found in schema.get_all_operations()):
            with subtests.test(operation.label):
                assert ask(operation, there, session) & ANSWERED, "nothing but refusals"


def cancels_itself(case: Case) -> bool:
    """Whether its Cancel-After may end its request before it is drawn: the documented answer to that is a 500."""
    with suppress(ValueError):
        return float((case.headers or {}).get("Cancel-After", LONG)) < LONG
    return False


def ask(operation: APIOperation, there: dict[str, Iterator[Any]], session: requests.Session) -> set[int]:
    """Call an operation in many ways, the documented example first; the statuses of the answers."""
    seen = set()

    def call(case: Case) -> None:
        place(case, there)
        answer = case.call(session=session, timeout=60)
        seen.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS[cancels_itself(case) :])

    for example in examples(operation):
        call(example)
    # Any text is a path: only a body or a query can be wrong.
    wrong = [GenerationMode.NEGATIVE] if operation.body or operation.query else []
    for mode in (GenerationMode.POSITIVE, *wrong):
        FEW(given(operation.as_strategy(generation_mode=mode))(call))()
    return seen


def examples(operation: APIOperation) -> Iterator[Case]:
    """One call per body type that the document has an example of."""
    body = operation.definition.raw.get("requestBody", {"content": {}})
    # What stands in the path is put there by `place`.
    path = {parameter.name: "x" for parameter in operation.path_parameters}
    for kind, content in body["content"].items():
        for example in [content.get("example"), *(one["value"] for one in content.get("examples", {}).values())]:
            if example is not None:
                yield operation.Case(path_parameters=path, body=dict(example), media_type=kind)
