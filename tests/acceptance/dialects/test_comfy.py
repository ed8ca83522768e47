"""comfy-sdk, as it is, against a real server: DIALECTS.md's cases C1 to C8, and what the client does around them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from comfy_sdk import AlreadyCompleted, AsyncComfy, Comfy, RetryPolicy, RouterError
from comfy_sdk.retry import DEFAULT_RETRY
from comfy_sdk.router_exceptions import (
    Cancelled,
    ContentPolicyViolation,
    Forbidden,
    InsufficientCredits,
    InternalError,
    InvalidInput,
    ModelNotFound,
    QueueBacklogFull,
    RateLimited,
    RequestNotFound,
    ServiceUnavailable,
    Unauthorized,
)

from tests.acceptance.harness import Server
from tests.acceptance.test_http_helpers import OLD, PRICES, TEXT, left, new_key, opened

ID = f"tintype/{TEXT}"
SMALL = {"prompt": "a fox", "seed": 7, "steps": 2, "width": 256, "height": 256}
NewClient = Callable[..., Comfy]


@pytest.fixture
def new_client(dialects: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[NewClient]:
    """Makes clients of new accounts, or with a key that there is; all that changes is the environment."""
    monkeypatch.setenv("COMFY_ROUTER_BASE_URL", dialects.address)
    made = []

    def new(secret: str = "", retry: RetryPolicy = DEFAULT_RETRY, **limits: Any) -> Comfy:
        made.append(Comfy(api_key=secret or new_key(dialects, 1, **limits), retry=retry))
        return made[-1]

    yield new
    for client in made:
        client.close()


@pytest.fixture
def secret(dialects: Server) -> str:
    """A new account's key, with a dollar."""
    return new_key(dialects, 1)


@pytest.fixture
def client(new_client: NewClient, secret: str) -> Comfy:
    return new_client(secret)


@pytest.fixture
def tests(new_client: NewClient) -> Comfy:
    """With a test key."""
    return new_client(test=True)


def test_c1_the_models_and_their_documents(dialects: Server, client: Comfy) -> None:
    listed = dialects.http().get("/v1/models").json()["models"]
    slugs = [one["slug"] for one in listed if one.get("weights") != "needs weights"]
    assert [one.model for one in client.models.list()] == slugs
    assert [one.id for one in client.models.list(limit=2)] == [f"tintype/{slug}" for slug in slugs]
    page = client.models.list(limit=2).page()
    assert (len(page.data), page.has_more, page.limit) == (2, True, 2)
    assert page.request_id
    assert len(client.models.list(limit=2, cursor=page.next_cursor).page().data) == 2
    assert client.models.list(limit=1000).page().limit == 100
    assert not page.data[0].billing["charges_on_policy_rejection"]

    found = client.models.schema(ID)
    assert found.document
    assert found.etag
    shape = found.document["components"]["schemas"]
    assert any({"prompt", "steps", "seed"} <= one.get("properties", {}).keys() for one in shape.values())
    again = client.models.schema(ID, etag=found.etag)
    assert (again.unchanged, again.document, again.etag) == (True, None, found.etag)
    with pytest.raises(InvalidInput):
        client.models.list(cursor="none").page()


def test_c2_a_run(dialects: Server, client: Comfy) -> None:
    output = client.models.run(ID, SMALL)
    assert isinstance(output, dict)
    assert output["status"] == "COMPLETED"
    assert opened(dialects.http(None).get(output["images"][0]["url"]).content).size == (256, 256)
    detailed = client.models.run_detailed(ID, SMALL, idempotency_key="order-7")
    assert isinstance(detailed.output, dict)
    assert detailed.credits_used is not None
    assert float(detailed.credits_used) == PRICES[TEXT]
    assert (detailed.replayed, detailed.request_id) == (False, detailed.output["request_id"])
    again = client.models.run_detailed(ID, SMALL, idempotency_key="order-7")
    assert (again.replayed, again.output, again.credits_used) == (True, detailed.output, detailed.credits_used)
    assert (again.serving_provider, again.dropped_params) == (None, None)


COLLECTS = """
import json, sys
from comfy_sdk import Comfy
with Comfy() as client:
    print(json.dumps(client.models.handle(sys.argv[1], sys.argv[2]).get()))
"""


def test_c3_a_submit_and_its_handle(dialects: Server, client: Comfy, secret: str) -> None:
    handle = client.models.submit(ID, SMALL)
    events = [*handle.iter_events()]
    assert events[0].status in ("IN_QUEUE", "IN_PROGRESS")
    assert events[-1].is_completed
    result = handle.get()
    assert isinstance(result, dict)
    assert result["request_id"] == handle.request_id
    assert result == dialects.http(secret).get(f"/v2/requests/{handle.request_id}").json()
    environment = {"COMFY_API_KEY": secret, "COMFY_ROUTER_BASE_URL": dialects.address}
    arguments = [sys.executable, "-c", COLLECTS, ID, handle.request_id]
    elsewhere = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, check=True)
    assert json.loads(elsewhere.stdout) == result


def test_c4_a_parameter_that_is_missing(client: Comfy) -> None:
    with pytest.raises(InvalidInput) as refused:
        client.models.run(ID, {})
    assert refused.value.errors[0].location == "body.prompt"
    assert refused.value.errors[0].type == "missing"


def test_c5_who_and_what_is_unknown(new_client: NewClient, client: Comfy) -> None:
    stranger = new_client("SG_00000000000000000000000000000000")
    for call in (lambda: stranger.models.run(ID, SMALL), lambda: stranger.models.list().page()):
        with pytest.raises(Unauthorized):
            call()
    for name in ("tintype/none", f"nobody/{OLD}"):
        for call in (client.models.run, client.models.submit):
            with pytest.raises(ModelNotFound) as refused:
                call(name, SMALL)
            assert refused.value.request_id
        with pytest.raises(ModelNotFound):
            client.models.schema(name)


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("test:refuse:out-of-credits", InsufficientCredits),
        ("test:refuse:spend-cap", InsufficientCredits),
        ("test:refuse:forbidden", Forbidden),
        ("test:refuse:too-large", InvalidInput),
        ("test:refuse:store-unavailable", ServiceUnavailable),
        ("test:refuse:internal", InternalError),
        ("test:fail:safety", ContentPolicyViolation),
        ("test:fail:bad-picture", InvalidInput),
        ("test:fail:not-finite", InternalError),
    ],
)
def test_c6_errors_are_typed_by_run_and_by_subscribe(tests: Comfy, prompt: str, kind: type[RouterError]) -> None:
    for call in (tests.models.run, tests.models.subscribe):
        with pytest.raises(kind) as refused:
            call(ID, {"prompt": prompt})
        assert refused.value.detail


@pytest.mark.parametrize(
    ("prompt", "kind"), [("test:refuse:queue-full", QueueBacklogFull), ("test:refuse:too-many-requests", RateLimited)]
)
def test_a_429_is_sent_again_at_its_pace(new_client: NewClient, prompt: str, kind: type[RouterError]) -> None:
    client = new_client(retry=RetryPolicy(max_elapsed=3), test=True)
    with pytest.raises(kind) as refused:
        client.models.run(ID, {"prompt": prompt})
    assert refused.value.retry_after == 2


def test_c7_two_runs_of_a_key_that_may_one(new_client: NewClient) -> None:
    client = new_client(concurrency=1)
    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(lambda seed: client.models.run_detailed(ID, {**SMALL, "seed": seed}), (1, 2))]
    assert len({one.request_id for one in found}) == 2
    assert not any(one.replayed for one in found)


def test_c8_loading_a_model_is_as_it_was(dialects: Server) -> None:
    answer = dialects.http().post(f"/v2/models/{OLD}/warm")
    assert (answer.status_code, answer.json()["slug"]) == (202, OLD)


def test_a_run_rides_to_what_its_key_left_running(tests: Comfy) -> None:
    """504 with its pace, 409 with its pace, and then the first one's result: one generation, in one call."""
    found = tests.models.run_detailed(ID, {"prompt": "test:processing:3 test:interrupt:wait-ran-out"})
    assert found.replayed
    assert isinstance(found.output, dict)
    assert found.output["request_id"] == found.request_id


def test_a_key_is_for_one_call(tests: Comfy) -> None:
    tests.models.run(ID, {"prompt": "a fox"}, idempotency_key="order-8")
    with pytest.raises(InvalidInput) as refused:
        tests.models.run(ID, {"prompt": "a cat"}, idempotency_key="order-8")
    assert refused.value.http_status == 409
    with pytest.raises(InvalidInput):
        tests.models.submit(ID, {"prompt": "a fox"}, idempotency_key="order-8")
    with pytest.raises(InvalidInput):
        tests.models.run(ID, {"prompt": "a fox"}, idempotency_key="order-8", model_provider="tintype")
    handles = [tests.models.submit(ID, {"prompt": "a fox"}, idempotency_key="order-9") for _ in range(2)]
    assert handles[0].request_id == handles[1].request_id


def test_providers(tests: Comfy) -> None:
    run = tests.models.run_detailed
    for options in ({"strict_mode": True}, {"fallback_provider": False}, {"model_provider": "tintype"}):
        assert run(ID, {"prompt": "a fox"}, **options).serving_provider is None
    with pytest.raises(InvalidInput):
        run(ID, {"prompt": "a fox"}, model_provider="other")


def test_a_cancel(tests: Comfy) -> None:
    handle = tests.models.submit(ID, {"prompt": "test:queued:60"})
    assert handle.status().queue_position == 1
    assert handle.status().retry_after == 1
    assert handle.cancel().error_type == "cancelled"
    with pytest.raises(Cancelled):
        handle.get()
    with pytest.raises(AlreadyCompleted):
        handle.cancel()
    with pytest.raises(TimeoutError):  # it cancels on its way out
        tests.models.subscribe(ID, {"prompt": "test:queued:60"}, timeout=0.5)


def test_a_request_is_its_model_s_and_its_account_s(new_client: NewClient, tests: Comfy) -> None:
    handle = tests.models.submit(ID, {"prompt": "a fox"})
    for client, model in ((tests, f"tintype/{OLD}"), (new_client(), ID)):
        with pytest.raises(RequestNotFound):
            client.models.handle(model, handle.request_id).status()


def test_an_image_and_an_alias(dialects: Server, client: Comfy) -> None:
    body = {"prompt": "a fox", "image": "/sd-img2img-input.jpeg", "num_inference_steps": 20, "strength": 0.1}
    output = client.models.run("stability-ai/stable-diffusion", body)
    assert isinstance(output, dict)
    assert opened(dialects.http(None).get(output["output"]).content).size == (512, 512)
    handle = client.models.submit("stability-ai/stable-diffusion", body)
    assert handle.cancel().status


def test_all_of_it_awaited(dialects: Server, client: Comfy, secret: str) -> None:
    async def all_of_it() -> list[str]:
        async with AsyncComfy(api_key=secret) as own:
            listed = [one.id async for one in own.models.list(limit=3)]
            assert (await own.models.schema(ID)).document
            runs = await asyncio.gather(*(own.models.run_detailed(ID, SMALL) for _ in range(2)))
            handle = await own.models.submit(ID, SMALL)
            assert [update.status async for update in handle.iter_events()][-1] == "COMPLETED"
            assert (await handle.get())["request_id"] == handle.request_id  # type: ignore[index]
            seen: list[str] = []
            assert await own.models.subscribe(ID, SMALL, on_queue_update=lambda one: seen.append(one.status))
            assert seen[-1] == "COMPLETED"
            with pytest.raises(InvalidInput):
                await own.models.run(ID, {"prompt": 7, "steps": "many"})
            with pytest.raises(AlreadyCompleted):
                await handle.cancel()
            return [*listed, *(one.request_id or "" for one in runs)]

    found = asyncio.run(all_of_it())
    assert len({*found}) == len(found)
    assert round(1 - left(dialects.http(secret)), 6) == round(4 * PRICES[TEXT], 6), "each is charged once"
