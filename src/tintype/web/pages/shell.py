"""The pages: an HTML shell, its modules and styles, and a content security policy that allows no others."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from tintype import __version__
from tintype.store.store import Store
from tintype.web.generate.answers import STATES
from tintype.web.responses import CachedEndpoint, json_bytes
from tintype.web.runtime import Runtime
from tintype.web.services import services
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


def pages_router() -> APIRouter:
    """The pages, and the files below /static."""
    router = APIRouter(route_class=Threaded)
    router.add_api_route("/", index, methods=["GET"], summary="What this is; to a browser, the models")
    router.add_api_route("/", index, methods=["HEAD"], include_in_schema=False)
    own = (
        ("/models/{slug}", model),
        ("/account", account),
        ("/operator", operator),
        ("/about.json", CachedEndpoint(about).answer),
        ("/static/{path:path}", static),
    )
    for path, endpoint in own:
        router.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)
    return router


async def static(http: HttpRequest, path: str) -> Response:
    """A module or a style, with the headers of the pages; 304 for one that the browser has cached."""
    response = await _files().get_response(path, http.scope)
    response.headers.update(SECURITY_HEADERS)
    return response


async def index(http: HttpRequest) -> Response:
    """The models as cards; to other clients than browsers, the server's name and where the API is described."""
    vary = {"vary": "accept"}
    if "text/html" in http.headers.get("accept", ""):
        return _page("Models", "home", headers=vary)
    where = {"name": "tintype", "version": __version__, "models": "/v1/models", "openapi": "/openapi.json"}
    return JSONResponse(where, headers=vary)


async def model(http: HttpRequest, slug: str) -> Response:
    """One model: playground, API, pricing, history."""
    spec = services(http).registry.catalogue.get(slug)
    if spec is None:
        return _page("No such model", "model", root="../", status=404)
    return _page(spec.title, "model", root="../")


async def account() -> Response:
    """Balance, requests and usage of the account whose key the reader has."""
    return _page("Account", "account")


async def operator() -> Response:
    """The server's state: its queue, its workers, the last hours; its data needs an operator's key."""
    return _page("Operator", "operator")


def about(_store: Store, runtime: Runtime) -> bytes:
    """What the pages show of this server in addition to its models: the states of a request, and retention times."""
    settings = runtime.settings
    retention = {
        "record": settings.retention.record_ttl,
        "file": settings.retention.effective_output_ttl,
        "upload": settings.retention.upload_ttl,
        "history": settings.retention.history_ttl,
    }
    return json_bytes(
        {"version": __version__, "billing": settings.billing.enabled, "states": STATES, "kept_seconds": retention}
    )


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
