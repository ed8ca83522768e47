"""The pages: an HTML shell, its modules and styles, and a content security policy that allows no others."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from html import escape
from importlib.resources import files
from math import isfinite
from pathlib import Path
from string import Template
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from fastapi import Request as HttpRequest

from tintype import __version__
from tintype.catalog.limits import LIMITS
from tintype.errors import NotFound
from tintype.media.sanitize import READ
from tintype.settings import Settings
from tintype.web.declared import Answer
from tintype.web.dependencies import RuntimeDep
from tintype.web.generate.answers import STATES
from tintype.web.pages.assets import STYLES, Assets, packed_name
from tintype.web.responses import Body, conditional
from tintype.web.threads import Threaded

#: The stylesheets, in the order in which they apply.
SHEETS = ("base", "layout", "form", "intake", "stage", "reference", "account", "operator", "gallery", "verify")
#: What every page runs before it is painted, and the modules of the pages.
THEME = "theme"
PAGES = (THEME, "home", "model", "gallery", "account", "operator", "verify", "missing")
#: What a page's module asks for in any case. Named in the page, it is fetched at the same time as the modules.
DATA = {"home": ("v1/models",), "model": ("v1/models",), "account": ("v1/models", "about.json"),
        "gallery": ("v1/models", "about.json"), "verify": ("about.json",)}  # fmt: skip
STATIC = Path(str(files("tintype.web.pages") / "static"))
#: Scripts, styles and fonts of this server's own files and nothing else; images also from memory, for previews.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
#: Folders of an address at which nothing is, for a page that says so.
MAX_DEPTH = 20
#: Bytes of a form around its one file, at most.
FORM = 1024
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
    file: float | None
    """Finished images, from their request's end; null for no end. An account may keep some of them, without end."""
    images: float | None
    """The same; `file` is its older name."""
    upload: float
    history: float


class InputLimits(Answer):
    """What an input image may be."""

    max_bytes: int
    """Of a file that is uploaded."""
    max_pixels: int
    formats: list[str]
    """By their titles, as JPEG."""


class KeyLimit(Answer):
    """What a key can be limited to, for forms and lists of keys."""

    name: str
    """Its member in bodies and answers."""
    money: bool
    """Whether it is dollars."""
    label: str
    empty: str
    listed: str
    used: str
    """The member of answers that counts against it; empty where none does."""


class About(Answer):
    """What the pages show of this server in addition to its models."""

    version: str
    billing: bool
    verify: str
    """Who may have images verified: `open` for all, `key` or `off`."""
    states: dict[str, str]
    """What each state of a request means."""
    kept_seconds: KeptSeconds
    inputs: InputLimits
    images_budget: int | None
    """Bytes of all finished images: of more, the oldest are removed before their time; null for no limit."""
    key_limits: list[KeyLimit]


@router.get(
    "/",
    operation_id="getWelcome",
    summary="What this is; to a browser, the models",
    responses={200: {"model": Welcome, "content": {"text/html": {}}}},
)
async def index(http: HttpRequest, accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
    """The models as cards; to other clients than browsers, the server's name and where the API is described."""
    vary = {"vary": "accept"}
    if "text/html" in accept:
        return _page(http, "Models", "home", headers=vary)
    where = Welcome(name="tintype", version=__version__, models="/v1/models", openapi="/openapi.json")
    return where.response(headers=vary)


@router.get("/models/{slug}", include_in_schema=False)
async def model(http: HttpRequest, slug: str, runtime: RuntimeDep) -> Response:
    """One model: playground, API, pricing, history."""
    spec = runtime.registry.catalogue.get(slug)
    if spec is None:
        return _page(http, "No such model", "model", root="../", status=404)
    return _page(http, spec.title, "model", root="../")


@router.get("/images", include_in_schema=False)
async def images(http: HttpRequest) -> Response:
    """Everything that was made with the account whose key the reader has."""
    return _page(http, "Images", "gallery")


@router.get("/account", include_in_schema=False)
async def account(http: HttpRequest) -> Response:
    """Balance, requests and usage of the account whose key the reader has."""
    return _page(http, "Account", "account")


@router.get("/operator", include_in_schema=False)
async def operator(http: HttpRequest) -> Response:
    """The server's state: its queue, its workers, the last hours; its data needs an operator's key."""
    return _page(http, "Operator", "operator")


@router.get("/verify", include_in_schema=False)
async def verify(http: HttpRequest) -> Response:
    """Who made an image that the reader has."""
    return _page(http, "Verify an image", "verify")


def missing(http: HttpRequest) -> Response | None:
    """To a browser that follows a link to nothing, a page that says so; None for other clients, and for API paths."""
    path = bytes(http.scope.get("raw_path") or b"/").decode("latin-1").partition("?")[0]
    browser = http.method == "GET" and "text/html" in http.headers.get("accept", "")
    depth = path.count("/") - 1
    # The deeper, the longer the page is: a path that no link has gets none.
    if not browser or depth > MAX_DEPTH or path.startswith(("/v1/", "/v2/", "/sdapi/", "/static/", "/files/")):
        return None
    root = "./" + "../" * depth
    return _page(http, "Nothing is here", "missing", root=root, status=404, headers={"vary": "accept"})


@router.get("/static/{path:path}", include_in_schema=False)
async def static(http: HttpRequest, path: str) -> Response:
    """A module or a style, with the headers of the pages; 304 for one that the browser has cached."""
    # Samples were JPEGs, and their addresses are in answers of the version before.
    found = assets().find(path) or assets().find(re.sub(r"^(samples/.*)\.jpeg$", r"\1.webp", path))
    if found is None:
        raise NotFound(f"Nothing is at GET /static/{path[:80]}")
    body, caching = found
    return conditional(http, body, headers=SECURITY_HEADERS | {"cache-control": caching})


@router.get("/about.json", include_in_schema=False)
async def about(http: HttpRequest, runtime: RuntimeDep) -> Response:
    """What the pages show of this server in addition to its models: a request's states, retention, keys' limits."""
    billing, own = runtime.settings.billing.enabled, runtime.settings.retention
    images = own.image_ttl if isfinite(own.image_ttl) else None
    kept = KeptSeconds(
        record=own.record_ttl, file=images, images=images, upload=own.upload_ttl, history=own.history_ttl
    )
    limits = [KeyLimit.from_record(limit) for limit in LIMITS.values()]
    shown = About(
        version=__version__,
        billing=billing,
        verify=runtime.settings.provenance.verify,
        states=STATES,
        kept_seconds=kept,
        inputs=_inputs(runtime.settings),
        images_budget=own.images_budget or None,
        key_limits=limits,
    )
    return conditional(http, _body(shown.model_dump_json(), "application/json"))


def _inputs(settings: Settings) -> InputLimits:
    # A form's boundaries and headers take some bytes of the body.
    max_bytes = min(settings.inputs.max_bytes, settings.limits.max_body - FORM)
    return InputLimits(max_bytes=max_bytes, max_pixels=settings.inputs.max_pixels, formats=[*READ])


@cache
def assets() -> Assets:
    """The pages' files, as they were when the process began."""
    return Assets(STATIC, SHEETS, PAGES)


@cache
def _shell() -> Template:
    return Template((STATIC / "shell.html").read_text("utf-8"))


@lru_cache(maxsize=64)
def _body(text: str, media_type: str) -> Body:
    """Compressed once: there are few such texts, but for the pages of addresses at which nothing is."""
    return Body.of(text.encode(), media_type)


def _page(
    http: HttpRequest,
    title: str,
    module: str,
    *,
    root: str = "./",
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    """The shell. `root` leads from the page to where the server begins, which may be below a proxy's path."""
    static = f"{root}static/v-{assets().version}/"
    data = [f'<link rel="preload" as="fetch" crossorigin href="{root}{path}">' for path in DATA.get(module, ())]
    scripts = {"theme": static + packed_name(THEME), "module": static + packed_name(module)}
    html = _shell().substitute(
        scripts, title=escape(title), root=root, static=static, style=static + STYLES, data="\n".join(data)
    )
    page = _body(html, "text/html; charset=utf-8")
    return conditional(http, page, headers=SECURITY_HEADERS | (headers or {}), status=status)
