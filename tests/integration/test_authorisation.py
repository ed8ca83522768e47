"""Who may call what: every route of `/openapi.json` with every kind of key, so that no new route escapes it.

What is expected is a rule here, not read from the routes; what is an exception to it is named.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import func, select
from tests.integration.website import Website, serving
from tests.toy_weights import BUILTIN

from tintype.store.db.tables import requests

#: Anybody may call these.
PUBLIC = {
    "GET /", "GET /health", "GET /ready", "GET /files/{name}", "GET /v1/models",
    "GET /v1/models/{model_id}", "GET /inference-model-information/list",
    "POST /v1/verify", "GET /v1/verify/roots.pem",
}  # fmt: skip
#: Outside of the document: for anybody, but for `/metrics`; those of the last lines refuse, whatever is sent to them.
HIDDEN = {
    "/openapi.json", "/metrics", "/about.json", "/models/{slug}", "/images", "/account", "/operator", "/verify",
    "/static/{path:path}",
    "/sd-img2img-input.jpeg", "/sd-inpainting-mask.jpeg", "/sd3-img2img-ip.jpg", "/sd3-turbo-i2i-input.jpg",
    "/v1/{slug}", "/v2/{slug}", "/v1/models", "/v2/models", "/v1/get-user-credits",
    "/v1/models/{owner}/{name}", "/v1/models/{owner}/{name}/versions/{version_id}",
    "/v1/account", "/v1/files", "/v1/hardware", "/v1/predictions",
}  # fmt: skip
#: They change nothing, though they aren't GET; and GETs that aren't for keys which may only read.
READ_BY_POST = {
    "POST /v2/images/zip", "POST /sdapi/v1/png-info", "POST /sdapi/v1/refresh-checkpoints",
    "POST /sdapi/v1/refresh-loras", "POST /sdapi/v1/refresh-vae", "POST /sdapi/v1/reload-checkpoint",
    "POST /sdapi/v1/unload-checkpoint",
}  # fmt: skip
CHANGES_BY_GET = {"GET /webhook/inactive"}
SECRET_BY_GET = {"GET /v1/webhooks/default/secret"}
#: What an operator's key that may only read sees: how the server does, and who it is itself.
OBSERVED = {
    "GET /v2/operator", "GET /v2/operator/samples", "GET /api/auth/authenticate", "GET /sdapi/v1/memory",
}  # fmt: skip


#: Addresses of other APIs, at which a key can be sent as their clients send it, with the members of their errors.
ERRORS = {
    r"/v1/(images/|models/[^/]+$)": {"error"},
    r"/sdapi/": {"error", "detail", "body", "errors"},
    r"/v1/(predictions|files|account|hardware|webhooks|models/[^/]+/)": {"type", "title", "detail", "status"},
    r"/v2/models(/(?!{slug}/warm)|$)": {"detail", "error_type"},
}
OTHER_APIS = re.compile("|".join(f" {path}" for path in ERRORS))
MAX_BODY = 100_000


def changes(label: str) -> bool:
    return (not label.startswith("GET ") and label not in READ_BY_POST) or label in CHANGES_BY_GET | SECRET_BY_GET


def of_operators(label: str) -> bool:
    return " /v2/operator" in label


def of_accounts(label: str) -> bool:
    return not of_operators(label)


#: By kind of key: how it is made (None: it is none), and which of the operations that need a key it is let through to.
KINDS: dict[str, tuple[dict[str, Any] | None, Callable[[str], bool]]] = {
    "none": (None, lambda label: False),
    "wrong": (None, lambda label: False),
    "plain": ({}, of_accounts),
    "test": ({"test": True}, of_accounts),
    "of no model": ({"models": []}, of_accounts),
    "read-only": ({"read_only": True}, lambda label: of_accounts(label) and not changes(label)),
    "operator": ({"operator": True}, lambda label: True),
    "server-only": ({"operator": True, "read_only": True}, OBSERVED.__contains__),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("rights"), max_body=MAX_BODY) as website:
        yield website


@pytest.fixture(scope="module")
def document(site: Website) -> dict[str, dict[str, Any]]:
    """By method and path, what `/openapi.json` says of them."""
    with site.http() as http:
        paths = http.get("/openapi.json").json()["paths"]
    return {f"{method.upper()} {path}": said for path, all in paths.items() for method, said in all.items()}


def call(http: httpx2.Client, label: str, **sent: Any) -> int:
    """The status of a call; what its path names isn't there, unless the label says what is."""
    method, path = label.split()
    with http.stream(method, re.sub(r"{.*?}", "x", path), **sent) as answer:
        return answer.status_code


@pytest.mark.parametrize("kind", KINDS)
def test_every_route_lets_through_whom_it_should(site: Website, document: dict[str, Any], kind: str) -> None:
    made, allowed = KINDS[kind]
    secret = site.accounts.keys.create(site.account_id, kind, **made)[1] if made is not None else "SG_0123456789ab"
    with site.http(secret) as http:
        if kind == "none":
            del http.headers["x-api-key"]
        # A list is no operation's body: it gets as far as to be refused, and no further.
        got = {label: call(http, label, json=[]) for label in document}
    refused = {label for label, status in got.items() if status == (401 if made is None else 403)}
    assert refused == {label for label in document if label not in PUBLIC and not allowed(label)}
    assert {label for label, status in got.items() if status in (401, 403)} == refused
    assert {label for label in refused if str(got[label]) not in document[label]["responses"]} == set()
    assert {label: status for label, status in got.items() if status >= 500} == {"GET /ready": 503}, "without a worker"


def test_the_document_says_which_need_a_key(document: dict[str, Any]) -> None:
    assert len(document) > 60, "they were found"
    assert {label for label, said in document.items() if not said["security"]} == PUBLIC


def test_a_route_that_is_not_in_the_document_is_known(site: Website, document: dict[str, Any]) -> None:
    hidden = [route for route in site.app.routes if isinstance(route, APIRoute) and not route.include_in_schema]
    documented = {label.split()[1] for label in document if label.startswith("GET ")}
    assert {route.path for route in hidden if route.methods != {"HEAD"}} == HIDDEN
    assert {route.path for route in hidden} <= HIDDEN | documented


def test_head_is_for_whom_get_is_for(site: Website, document: dict[str, Any]) -> None:
    gets = [label for label in document if label.startswith("GET ") and label not in CHANGES_BY_GET]
    with httpx2.Client(base_url=site.address, timeout=60) as anybody:
        got = {label: (call(anybody, label), call(anybody, label.replace("GET", "HEAD"))) for label in gets}
    assert {label: both for label, both in got.items() if both[0] != both[1]} == {
        "GET /v2/requests/{request_id}/events": (401, 405)
    }


@pytest.mark.parametrize("sent", ["Bearer {key}", "token {key}", "Basic {user}", "basic {password}"])
def test_other_apis_take_a_key_as_their_clients_send_it(site: Website, document: dict[str, Any], sent: str) -> None:
    user, password = (b64encode(text.encode()).decode() for text in (f"{site.secret}:", f"x:{site.secret}"))
    headers = {"authorization": sent.format(key=site.secret, user=user, password=password)}
    with httpx2.Client(base_url=site.address, headers=headers, timeout=60) as http:
        refused = {label for label in document if call(http, label, json=[]) == 401}
    own = {label for label in document if label not in PUBLIC and not OTHER_APIS.search(label)}
    assert refused == (set() if sent.startswith("Bearer") else own)


def test_other_methods_are_refused_with_those_that_there_are(site: Website, document: dict[str, Any]) -> None:
    known: dict[str, set[str]] = {}
    for label in filter(OTHER_APIS.search, document):
        method, path = label.split()
        known.setdefault(path, set()).update({method, "HEAD"} if method == "GET" else {method})
    with site.http() as http:
        answers = {path: http.request("PATCH", re.sub(r"{.*?}", "x", path)) for path in known}
    got = {path: (one.status_code, one.headers.get("allow")) for path, one in answers.items()}
    assert {path: one for path, one in got.items() if one != (405, ", ".join(sorted(known[path])))} == {}


def test_errors_have_the_members_that_their_api_s_have(site: Website, document: dict[str, Any]) -> None:
    vendor = {"error", "error_description", "status_code"}
    with httpx2.Client(base_url=site.address, timeout=60) as anybody:
        for label in document.keys() - PUBLIC:
            method, path = label.split()
            wanted = next((members for pattern, members in ERRORS.items() if re.match(pattern, path)), vendor)
            for tried in (method, "PROPFIND"):
                error = anybody.request(tried, re.sub(r"{.*?}", "x", path)).json()
                assert error.keys() == wanted, (tried, path)


def test_every_body_is_bounded(site: Website, document: dict[str, Any]) -> None:
    bodies = [label for label, said in document.items() if "requestBody" in said]
    with site.http() as http:
        assert {label for label in bodies if call(http, label, json={"x": "y" * MAX_BODY}) != 413} == set()


# What queues a request

SLUG = "stable-diffusion-3.5-turbo-txt2img"
#: Next to v1's and v2's of each model.
SUBMITTING = {
    "POST /v1/images/generations", "POST /v1/images/edits", "POST /sdapi/v1/txt2img", "POST /sdapi/v1/img2img",
    "POST /v2/models/tintype/sd1.5-img2img", "POST /v2/models/tintype/sd1.5-img2img/requests",
    "POST /v1/predictions", f"POST /v1/models/tintype/{SLUG}/predictions",
}  # fmt: skip


def examples(said: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The bodies in JSON that the document gives for an operation, with their names: some are a model's."""
    content = said.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" in content:
        yield "", content["example"]
    yield from ((name, one["value"]) for name, one in content.get("examples", {}).items())


class There(dict[str, str]):
    """What stands in paths of a model; anything else isn't there."""

    def __init__(self, slug: str) -> None:
        super().__init__(slug=slug, owner="tintype", name=slug, provider="tintype", model=slug)

    def __missing__(self, name: str) -> str:
        return "x"


def queued(site: Website) -> int:
    with site.db.read() as view:
        return view.scalar(select(func.count()).select_from(requests)) or 0


@pytest.fixture(scope="module")
def submitting(site: Website, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations that queue a request when they are sent the document's own example, and that; found by trying."""
    found = {}
    with site.http(site.accounts.keys.create(site.account_id, "tries", test=True)[1]) as http:
        for label, said in document.items():
            for name, body in examples(said):
                before, place = queued(site), label.format_map(There(name if name in BUILTIN else SLUG))
                call(http, place, json=body)
                if queued(site) > before:
                    found[place] = body
    return found


def test_every_body_has_an_example_that_is_taken(site: Website, document: dict[str, Any], submitting: Any) -> None:
    """So none escapes the tests below: what it queues was seen."""
    bodies = {
        label
        for label, said in document.items()
        if "application/json" in said.get("requestBody", {}).get("content", {})
    }
    assert {label for label in bodies if not [*examples(document[label])]} == set()
    own = {f"POST /{version}/{slug}" for version in ("v1", "v2") for slug in BUILTIN}
    assert {*own, *SUBMITTING} == submitting.keys()
    assert site.account.held == 0, "a test costs nothing"
    assert site.account.balance == 1_000_000


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"models": []}, {403}),
        ({"models": [], "test": True}, {403}),
        ({"read_only": True}, {403}),
        ({"spend_cap": 0}, {402, 406, 429}),
    ],
    ids=["of no model", "of no model, test", "read-only", "without money"],
)
def test_a_key_queues_only_what_it_may(
    site: Website, submitting: dict[str, Any], limits: Any, status: set[int]
) -> None:
    before = queued(site)
    with site.http(site.accounts.keys.create(site.account_id, "limited", **limits)[1]) as http:
        got = {label: call(http, label, json=body) for label, body in submitting.items()}
    assert {label: one for label, one in got.items() if one not in status} == {}
    assert queued(site) == before
