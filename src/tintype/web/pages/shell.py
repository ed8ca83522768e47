"""The pages: an HTML shell, its modules and styles, and a content security policy that allows no others."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from fastapi import Request as HttpRequest
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from tintype import __version__
from tintype.web.declared import Answer
from tintype.web.dependencies import RuntimeDep
from tintype.web.generate.answers import STATES
from tintype.web.responses import conditional
from tintype.web.threads import Threaded

STATIC = Path(str(files("tintype.web.pages") / "static"))
#: Scripts and styles of this server's own files and nothing else; images also from memory, for previews.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    # Cached, but revalidated: an updated server must not run with modules of the previous version.
    "cache-control": "no-cache",
}


router = APIRouter(route_class=Threaded, tags=["server"])


class Welcome(Answer):
    """This server's name, and where its API is described."""

    name: Literal["tintype"]
    version: str
    models: str
    openapi: str


class KeptSeconds(Answer):
    """For how long things are kept, in seconds."""

    record: float
    file: float
    upload: float
    history: float


class About(Answer):
    """What the pages show of this server in addition to its models."""

    version: str
    billing: bool
    states: dict[str, str]
    """What each state of a request means."""
    kept_seconds: KeptSeconds


@router.get(
    "/",
    operation_id="getWelcome",
    summary="What this is; to a browser, the models",
    responses={200: {"model": Welcome, "content": {"text/html": {}}}},
)
async def index(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
    """The models as cards; to other clients than browsers, the server's name and where the API is described."""
    vary = {"vary": "accept"}
    if "text/html" in accept:
        return _page("Models", "home", headers=vary)
    where = Welcome(name="tintype", version=__version__, models="/v1/models", openapi="/openapi.json")
    return where.response(headers=vary)


@router.get("/models/{slug}", include_in_schema=False)
async def model(slug: str, runtime: RuntimeDep) -> Response:
    """One model: playground, API, pricing, history."""
    spec = runtime.registry.catalogue.get(slug)
    if spec is None:
        return _page("No such model", "model", root="../", status=404)
    return _page(spec.title, "model", root="../")


@router.get("/account", include_in_schema=False)
async def account() -> Response:
    """Balance, requests and usage of the account whose key the reader has."""
    return _page("Account", "account")


@router.get("/operator", include_in_schema=False)
async def operator() -> Response:
    """The server's state: its queue, its workers, the last hours; its data needs an operator's key."""
    return _page("Operator", "operator")


@router.get("/static/{path:path}", include_in_schema=False)
async def static(http: HttpRequest, path: str) -> Response:
    """A module or a style, with the headers of the pages; 304 for one that the browser has cached."""
    response = await _files().get_response(path, http.scope)
    response.headers.update(SECURITY_HEADERS)
    return response


@router.get("/about.json", include_in_schema=False)
async def about(http: HttpRequest, runtime: RuntimeDep) -> Response:
    """What the pages show of this server in addition to its models: the states of a request, and retention times."""
    billing, own = runtime.settings.billing.enabled, runtime.settings.retention
    kept = KeptSeconds(record=own.record_ttl, file=own.image_ttl, upload=own.upload_ttl, history=own.history_ttl)
    shown = About(version=__version__, billing=billing, states=STATES, kept_seconds=kept)
    return conditional(http, shown.model_dump_json().encode(), "application/json")


@cache
def _shell() -> Template:
    return Template((STATIC / "shell.html").read_text("utf-8"))


@cache
def _files() -> StaticFiles:
    return StaticFiles(directory=STATIC)


def _page(
    title: str, module: str, *, root: str = "./", status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """The shell. `root` leads from the page to where the server begins, which may be below a proxy's path."""
    html = _shell().substitute(title=escape(title), module=module, root=root)
    return HTMLResponse(html, status_code=status, headers=SECURITY_HEADERS | (headers or {}))
