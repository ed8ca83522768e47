"""What clients of AUTOMATIC1111's API ask besides images: models, samplers, their key's options, how far a call is."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as HttpRequest
from PIL import Image
from pydantic import Field

from tintype.catalog.infotext import SHORT_HASH, model_hash, read_infotext
from tintype.errors import BadPicture, Forbidden, ModelUnknown
from tintype.hub.registry import Registry
from tintype.media.images import encode
from tintype.store.accounts.keys import Key
from tintype.store.accounts.options import KeyOptions
from tintype.store.ops.processes import WorkerRow
from tintype.store.queue.progress import Preview
from tintype.web.auth import Caller, Reader, Runner
from tintype.web.declared import Allowed, Answer, Declared, SentQuery
from tintype.web.dependencies import FilesDep, RuntimeDep, StoreDep
from tintype.web.dialects.common import FORMATS, QUALITY, check_json, refusals
from tintype.web.dialects.samplers import LISTED, SCHEDULE_NAMES
from tintype.web.generate.recipes import FOX, texts_of
from tintype.web.generate.watcher import PREVIEWS_FOR
from tintype.web.json_body import body_of
from tintype.web.threads import Threaded

#: As requests' rows have it.
NAME = "a1111"
#: What is chosen until a client chooses something else.
DEFAULT = "default"
PNG = "png"
#: A title of other servers', `name [hash]`, and the ends of files' names.
TITLE = re.compile(r"(.+?)\s*\[[0-9a-fA-F]{8,64}\]")
HASH = re.compile(rf"[0-9a-f]{{{SHORT_HASH},64}}")
FILE_ENDS = (".safetensors", ".ckpt")
#: Characters of a checkpoint's name that are read: more than any has, with a hash.
MAX_NAME = 200
#: Moments, as that program writes them.
STAMP = "%Y%m%d%H%M%S"


class A1111Error(Answer):
    """What went wrong."""

    error: Literal["HTTPException"]
    detail: str
    body: str
    errors: str = Field(description="The same in more words, where there are any")


#: What some errors mean at these addresses.
REFUSALS = {
    403: "The key may not do this; or another origin's page sent a password that the browser keeps",
    404: "No such model, sampler or init image",
    415: "Not JSON, by its content type",
    422: "A field that can't be used, or content that the safety check refuses",
}
#: The `responses` of an operation for errors of these statuses.
faults = partial(refusals, A1111Error, words=REFUSALS)


# Models


class A1111Checkpoint(Answer):
    """A model, by its slug or an alias."""

    title: str
    model_name: str
    hash: str = Field(description=f"{SHORT_HASH} hexadecimal digits that stand for its weights")
    sha256: str = Field(description="64 of them")
    filename: str
    config: None


class A1111Lora(Answer):
    """A LoRA that prompts may name, as `<lora:name:0.8>`."""

    name: str
    alias: str
    path: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The models that draw by this API, by the names that callers may have for them: slugs, then aliases.

    Those that need a mask, which it doesn't take, would be chosen from the list, kept, and refused at each call.
    """

    registry: Registry
    #: 64 digits, by name; of an alias for the weights that draw from text, if these are served.
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, registry: Registry) -> Checkpoints:
        """Reads the weights' files when they are asked for first: not for the event loop."""
        draws = [slug for slug, spec in registry.served.items() if spec.needs != "mask"]
        aliases = registry.served.aliases.items()
        named = {name: [slug for slug in one.slugs if slug in draws] for name, one in aliases}
        first = {slug: slug for slug in draws} | {name: slugs[0] for name, slugs in named.items() if slugs}
        return cls(registry, {name: model_hash(registry.fingerprint(slug)) for name, slug in first.items()})

    def slugs(self, name: str) -> tuple[str, ...]:
        """Of an alias the models for text and for an image."""
        alias = self.registry.served.aliases.get(name)
        return alias.slugs if alias else (name,)

    def allowed(self, key: Key, name: str) -> bool:
        """Whether a key has any of a name's models."""
        return key.models is None or any(slug in key.models for slug in self.slugs(name))

    def find(self, text: str) -> str:
        """The name of a checkpoint as clients write it: a name, `name [hash]`, a file's name, or a hash.

        Raises ModelUnknown.
        """
        text = text.strip()[:MAX_NAME]
        titled = TITLE.fullmatch(text)
        for name in (text, titled[1] if titled else text):
            for plain in (name, *(name.removesuffix(end) for end in FILE_ENDS)):
                if plain in self.hashes:
                    return plain
        digits = text.lower()
        if HASH.fullmatch(digits):
            for name, known in self.hashes.items():
                if known.startswith(digits):
                    return name
        raise ModelUnknown("Model not found")


def sd_models(key: Reader, runtime: RuntimeDep) -> list[A1111Checkpoint]:
    """The models that the key may run."""
    known = Checkpoints.of(runtime.registry)
    return [_checkpoint(name, digits) for name, digits in known.hashes.items() if known.allowed(key, name)]


def _checkpoint(name: str, digits: str) -> A1111Checkpoint:
    short, file = digits[:SHORT_HASH], f"{name.replace('/', '_')}{FILE_ENDS[0]}"
    return A1111Checkpoint(title=name, model_name=name, hash=short, sha256=digits, filename=file, config=None)


def loras(key: Reader, store: StoreDep, runtime: RuntimeDep) -> list[A1111Lora]:
    """The LoRAs of the chosen checkpoint."""
    registry, name = runtime.registry, store.accounts.options.of(key.id).checkpoint or DEFAULT
    slugs = Checkpoints.of(registry).slugs(name)
    entries = [registry.entries[slug] for slug in slugs if slug in registry.entries]
    known = dict.fromkeys(lora for entry in entries for lora in entry.available_loras)
    return [A1111Lora(name=lora, alias=lora, path="", metadata={}) for lora in known]


# Samplers


class A1111Sampler(Answer):
    """A sampler; of those that a model hasn't, it draws with the nearest."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class A1111Scheduler(Answer):
    """A noise schedule."""

    name: str
    label: str
    aliases: None
    default_rho: int
    need_inner_model: bool


def samplers(_key: Reader) -> list[A1111Sampler]:
    """The samplers, for all models alike."""
    return [A1111Sampler(name=name, aliases=[], options={}) for name in LISTED]


def schedulers(_key: Reader) -> list[A1111Scheduler]:
    """The noise schedules."""
    return [
        A1111Scheduler(name=name, label=label, aliases=None, default_rho=-1, need_inner_model=False)
        for name, (label, _) in SCHEDULE_NAMES.items()
    ]


# Options


class A1111Options(Answer):
    """What is set for the key; what other servers have besides these has no effect here."""

    sd_model_checkpoint: str
    sd_checkpoint_hash: str
    samples_format: Literal["png", "jpg", "webp"]
    sd_vae: str
    CLIP_stop_at_last_layers: int
    show_progress_every_n_steps: int
    jpeg_quality: int
    eta_noise_seed_delta: int
    img2img_fix_steps: bool
    live_previews_enable: bool


class A1111NewOptions(Declared):
    """Any options; those that are named here are kept, the others accepted and forgotten."""

    sd_model_checkpoint: str | None = Field(None, description="A model, as GET sd-models calls it")
    samples_format: Annotated[Literal["png", "jpg", "jpeg", "webp"] | None, Allowed("one of png, jpg, webp")] = None
    jpeg_quality: Annotated[int | None, Field(ge=1, le=100), Allowed("a whole number from 1 to 100")] = None


def options(key: Reader, store: StoreDep, runtime: RuntimeDep) -> A1111Options:
    """The key's options."""
    found = store.accounts.options.of(key.id)
    checkpoint = found.checkpoint or DEFAULT
    format = found.samples_format or PNG
    return A1111Options(
        sd_model_checkpoint=checkpoint,
        sd_checkpoint_hash=Checkpoints.of(runtime.registry).hashes.get(checkpoint, ""),
        samples_format="jpg" if format == "jpeg" else format,
        sd_vae="Automatic",
        CLIP_stop_at_last_layers=1,
        show_progress_every_n_steps=1,
        jpeg_quality=found.jpeg_quality or QUALITY,
        eta_noise_seed_delta=0,
        img2img_fix_steps=False,
        live_previews_enable=True,
    )


OptionsBody = body_of(A1111NewOptions, {"sd_model_checkpoint": DEFAULT})


def set_options(
    key: Runner, store: StoreDep, runtime: RuntimeDep, body: Annotated[A1111NewOptions, OptionsBody]
) -> None:
    """Set some of the key's options; the answer is null."""
    known = Checkpoints.of(runtime.registry)
    checkpoint = known.find(body.sd_model_checkpoint) if body.sd_model_checkpoint else None
    if checkpoint and not known.allowed(key, checkpoint):
        raise Forbidden(f"This API key may not run {checkpoint}", reason="model")
    format = FORMATS[body.samples_format] if body.samples_format else None
    store.accounts.options.set(key.id, KeyOptions(checkpoint, format, body.jpeg_quality))


# Progress


class A1111State(Answer):
    """Of the key's requests by this API, the one that runs, or is next."""

    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: str = Field(description="The request's id; empty where there is none")
    job_count: int = Field(description="Those that have not ended")
    job_timestamp: str
    job_no: int
    sampling_step: int
    sampling_steps: int


class A1111Progress(Answer):
    """How far it is."""

    progress: float = Field(ge=0, le=1)
    eta_relative: float = Field(description="Seconds until it ends, where these are known; else 0")
    state: A1111State
    current_image: str | None = Field(description="Its latest preview, a PNG in base64")
    textinfo: None


class ProgressQuery(SentQuery):
    """Whether the preview is left out."""

    skip_current_image: bool = False


def progress(key: Reader, store: StoreDep, query: Annotated[ProgressQuery, Query()]) -> Response:
    """How far the key's present request by this API is; its previews are made as long as this is asked."""
    found = store.queue.current(key, NAME)
    if found is None:
        return _progress(0.0, 0.0, None, job="", job_count=0, job_timestamp="0", sampling_step=0, sampling_steps=0)
    request, previews = found.request, store.queue.previews
    if found.watched < PREVIEWS_FOR / 2 and not request.test:
        previews.follow([request.id], PREVIEWS_FOR)
    shown = None if query.skip_current_image else _image([*previews.latest(request.id).values()])
    about = {
        "interrupted": request.lease.cancel_requested,
        "job": request.id,
        "job_count": found.number,
        "job_timestamp": stamp(request.timing.submitted_at),
        "sampling_step": request.step,
        "sampling_steps": request.steps,
    }
    part = min(max(0.01, request.step / request.steps if request.steps else 0.0), 1.0)
    answer = _progress(part, found.eta.seconds or 0.0, shown, **about)
    answer.headers["x-request-id"] = request.id
    return answer


def _progress(part: float, seconds: float, image: str | None, **about: Any) -> Response:
    state = A1111State(**{"skipped": False, "interrupted": False, "stopping_generation": False, "job_no": 0, **about})
    answer = A1111Progress(progress=part, eta_relative=seconds, state=state, current_image=image, textinfo=None)
    return answer.response()


def _image(previews: Sequence[Preview]) -> str | None:
    if not previews:
        return None
    latest = max(previews, key=lambda one: one.number)
    with Image.open(io.BytesIO(latest.jpeg)) as image:
        return b64encode(encode(image.convert("RGB"), PNG)).decode()


def stamp(moment: float) -> str:
    """A moment in unix seconds, as that program writes it, in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime(STAMP)


class A1111Nothing(Answer):
    """It is done."""


def interrupt(key: Runner, store: StoreDep) -> A1111Nothing:
    """Cancel all requests of this key that came by this API and have not ended; nothing of them is charged."""
    store.queue.cancel_own(key, NAME)
    return A1111Nothing()


def skip(key: Runner, store: StoreDep) -> A1111Nothing:
    """Cancel the oldest of them."""
    store.queue.cancel_own(key, NAME, 1)
    return A1111Nothing()


# Files


class A1111PngInfo(Declared):
    """An image's file."""

    image: Annotated[str, Field(min_length=1), Allowed("base64, or a data: URI")]


class A1111FoundInfo(Answer):
    """What the file says of its making."""

    info: str
    items: dict[str, str]
    parameters: dict[str, Any]


PngBody = body_of(A1111PngInfo, {"image": FOX}, images=True, changes=False)


def png_info(_key: Reader, files: FilesDep, body: Annotated[A1111PngInfo, PngBody]) -> A1111FoundInfo:
    """The settings that an image's file carries."""
    note, text = texts_of(body.image, files)
    items = {name: one for name, one in (("parameters", text), ("tintype", note)) if one}
    return A1111FoundInfo(info=text, items=items, parameters=dict(_settings(text)) if text else {})


def _settings(text: str) -> Iterator[tuple[str, str]]:
    with suppress(BadPicture):  # words that are no settings are told as they are
        said = read_infotext(text)
        yield from (("Prompt", said.prompt), ("Negative prompt", said.negative_prompt))
        for name, value in said.settings.items():
            yield name, value
            if sides := re.fullmatch(r"(\d{1,5})x(\d{1,5})", value):
                yield from ((f"{name}-1", sides[1]), (f"{name}-2", sides[2]))


# The server


class A1111Flags(Answer):
    """How the server was started, as far as clients ask."""

    api: bool
    nowebui: bool
    listen: bool
    port: int
    api_auth: None


class A1111Memory(Answer):
    """Bytes, of all workers together; zeros for keys that aren't operators'."""

    ram: dict[str, int]
    cuda: dict[str, Any]


def cmd_flags(_key: Reader, http: HttpRequest, runtime: RuntimeDep) -> A1111Flags:
    """What clients ask of a server's command line, and nothing else."""
    _, port = http.scope.get("server") or ("", None)
    return A1111Flags(api=True, nowebui=True, listen=True, port=port or runtime.settings.web.port, api_auth=None)


def memory(key: Caller, runtime: RuntimeDep) -> A1111Memory:
    """How much memory the workers use."""
    workers = runtime.readiness.workers() if key.operator else []
    on_gpus = [worker for worker in workers if "total" in worker.report.memory]
    used = _bytes(workers, "process")
    ram = _shares(used, max(used, _bytes([one for one in workers if one not in on_gpus], "budget")))
    if not on_gpus:
        return A1111Memory(ram=ram, cuda={"error": "unavailable"})
    system = _shares(_bytes(on_gpus, "reserved"), _bytes(on_gpus, "total"))
    further: dict[str, Any] = {name: {} for name in ("active", "allocated", "reserved", "inactive")}
    return A1111Memory(ram=ram, cuda={"system": system, **further, "events": {"retries": 0, "oom": 0}})


def _bytes(workers: Sequence[WorkerRow], kind: str) -> int:
    return sum(worker.report.memory.get(kind, 0) for worker in workers)


def _shares(used: int, total: int) -> dict[str, int]:
    return {"free": total - used, "used": used, "total": total}


Constant = dict[str, Any] | list[dict[str, Any]]
#: What there is nothing of here, and what is answered in its place.
UPSCALER = {"name": "None", "model_name": None, "model_path": None, "model_url": None, "scale": 1}
NOTHING: Mapping[str, tuple[str, Constant]] = {
    "upscalers": ("The upscalers", [UPSCALER]),
    "embeddings": ("The embeddings", {"loaded": {}, "skipped": {}}),
    "scripts": ("The scripts", {"txt2img": [], "img2img": []}),
    "script-info": ("Scripts", []),
    "sd-vae": ("Autoencoders to choose from", []),
    "hypernetworks": ("Hypernetworks", []),
    "face-restorers": ("Face restorers", []),
    "realesrgan-models": ("Models that enlarge images", []),
    "prompt-styles": ("Styles", []),
    "latent-upscale-modes": ("Ways to enlarge latents", []),
    "extensions": ("Extensions", []),
    "sd-modules": ("Modules", []),
}
#: What changes nothing, as models are loaded and evicted as requests ask for them.
WITHOUT_EFFECT = ("refresh-checkpoints", "refresh-vae", "refresh-loras", "unload-checkpoint", "reload-checkpoint")


def constant(answer: Constant) -> Callable[[Key], Constant]:
    """An endpoint that needs a key, and always answers alike."""

    def told(_key: Reader) -> Constant:
        """Always the same."""
        return answer

    return told


@dataclass(frozen=True)
class Route:
    """One of the addresses around images."""

    path: str
    endpoint: Any
    summary: str
    method: Literal["GET", "POST"] = "GET"
    errors: tuple[int, ...] = ()
    tag: str = "models"


ROUTES = (
    Route("sd-models", sd_models, "The models"),
    Route("loras", loras, "The chosen model's LoRAs"),
    Route("samplers", samplers, "The samplers"),
    Route("schedulers", schedulers, "The noise schedules"),
    Route("options", options, "The key's options", tag="keys"),
    Route("options", set_options, "Set the key's options", "POST", (400, 403, 404, 413, 415, 422, 429), "keys"),
    Route("progress", progress, "How far the key's present request is", errors=(400, 422), tag="requests"),
    Route("interrupt", interrupt, "Cancel the key's requests", "POST", (403,), "requests"),
    Route("skip", skip, "Cancel the oldest of the key's requests", "POST", (403,), "requests"),
    Route("png-info", png_info, "How an image was made", "POST", (400, 413, 415, 422, 429), "files"),
    Route("cmd-flags", cmd_flags, "How the server was started", tag="server"),
    Route("memory", memory, "The workers' memory", tag="operator"),
    *(Route(path, constant(answer), f"{words}: none") for path, (words, answer) in NOTHING.items()),
    *(Route(path, constant({}), "Has no effect", "POST") for path in WITHOUT_EFFECT),
)
#: An answer without anything in it.
NULL: dict[int | str, dict[str, Any]] = {
    200: {"description": "null", "content": {"application/json": {"schema": {"type": "null"}}}}
}


def server_router() -> APIRouter:
    """The addresses around images."""
    router = APIRouter(prefix="/sdapi/v1", route_class=Threaded)
    for route in ROUTES:
        words = "".join(map(str.capitalize, route.path.split("-")))
        # An answer that is made once isn't validated again: what it is, is only said.
        said: dict[str, Any] = {"response_model": A1111Progress} if route.endpoint is progress else {}
        router.add_api_route(
            f"/{route.path}",
            route.endpoint,
            methods=[route.method],
            operation_id=f"a1111{'Set' if route.endpoint is set_options else ''}{words}",
            summary=route.summary,
            tags=[route.tag],
            responses=faults(403, *route.errors) | (NULL if route.endpoint is set_options else {}),
            dependencies=[Depends(json_alone)] if 415 in route.errors else [],
            **said,
        )
    return router


async def json_alone(http: HttpRequest, _key: Reader) -> None:
    """Raise UnsupportedBody for other bodies: a page of another origin could have a browser send those."""
    check_json(http)
