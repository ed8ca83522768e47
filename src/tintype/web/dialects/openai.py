"""OpenAI's Images API: images from text, or from another image, answered when they are made, or streamed."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from tintype.catalog import formats
from tintype.catalog.samples import PORTRAIT
from tintype.catalog.spec import WORDS, Catalogue, ModelSpec, Parsed, Purpose
from tintype.core import Json
from tintype.errors import SENT_LENGTH, MissingParameter, ModelUnknown, TintypeError
from tintype.store.webhooks.events import file_url
from tintype.web.dependencies import RuntimeDep
from tintype.web.dialects.common import (
    OWN_FIELDS,
    Translation,
    as_file,
    default_size,
    described,
    model_for,
    naming,
    nearest_shape,
    param_of,
    read_size,
    refusals,
    sides,
)
from tintype.web.dialects.model_list import ListedModel, listed
from tintype.web.dialects.openai_stream import stream
from tintype.web.dialects.openai_words import (
    FIELDS,
    NO_TOKENS,
    NOTHING,
    SHARES,
    Asked,
    AskedEdit,
    OpenAIError,
    OpenAIImage,
    OpenAIImages,
    Unsupported,
    in_error,
)
from tintype.web.generate import answers
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.operations import SUBMITTED
from tintype.web.generate.submit import CallDep, accept, answered, takes
from tintype.web.openapi import OF_RATE, TEXT, headers
from tintype.web.threads import Threaded

#: Its addresses, of which some aren't offered. Without `/v1` those of clients whose base URL lacks it: they tell an
#: error's words only where these are its own.
OWN = re.compile(r"/v1/models/[^/]+|(/v1)?/(images|chat)/.*|(/v1)?/responses(/.*)?", re.DOTALL)
#: How much of an input image is replaced: the models' own defaults are up to 1, which keeps nothing of it.
STRENGTHS = {"low": 0.75, "high": 0.5}
#: Of answers with images, and what some errors mean at these addresses.
MADE = ("x-cost", "x-weights", "x-cold-start")
REFUSALS = {
    400: "Bad parameters, body or headers, an image that can't be used, or content that is refused",
    404: "There is no such model",
    429: "Too many requests, or out of credits",
}
#: An event of a stream, as tools that know event streams read it: `data` is text, which holds JSON.
EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {"event": TEXT, "data": TEXT | {"contentMediaType": "application/json"}},
}


@dataclass(frozen=True)
class OpenAI:
    """`POST /v1/images/generations`; with the purpose `edit`, `POST /v1/images/edits`."""

    purpose: Purpose = "generate"
    #: What the call asks for that is answered.
    asked: Asked = NOTHING

    name = "openai"
    schemes = ("bearer", "token", "basic")
    waits = True
    cancels = True

    def owns(self, path: str) -> bool:
        return OWN.fullmatch(path) is not None

    def routes(self, catalogue: Catalogue) -> APIRouter:
        """An operation for either purpose, and one model of the list of `GET /v1/models`."""
        router = APIRouter(prefix="/v1", route_class=Threaded)
        words = _operation("createImages", "Images from text", Asked)
        router.post("/images/generations", **words)(self.endpoint(catalogue))
        words = _operation("editImage", "Images from another image", AskedEdit)
        router.post("/images/edits", **words)(replace(self, purpose="edit").endpoint(catalogue))
        unknown: dict[int | str, Any] = {404: {"model": OpenAIError, "description": REFUSALS[404]}}
        words = {"operation_id": "getModel", "summary": "A model (OpenAI)", "tags": ["models"], "responses": unknown}
        router.get("/models/{model_id}", **words)(_model)
        return router

    def endpoint(self, catalogue: Catalogue) -> Callable[..., Awaitable[Response]]:
        """Makes images for its purpose."""
        texts = frozenset[str]().union(*(spec.texts for spec in catalogue.values()))

        async def images(call: CallDep) -> Response:
            dialect = self

            def find(body: Json) -> ModelSpec:
                nonlocal dialect
                dialect = replace(self, asked=Asked.read(body))
                return model_for(catalogue, dialect.asked.model, self.purpose)

            with call.runtime.waits.counted(call.key.account_id):  # before anything is queued or held
                accepted = await accept(call, self, find, texts)
                if not dialect.asked.stream:
                    return await answered(call, dialect, accepted)
            return stream(call, "image_edit" if self.purpose == "edit" else "image_generation", dialect.asked, accepted)

        return images

    def parse(self, spec: ModelSpec, body: Json, /) -> Parsed:
        asked = Asked.read(body)
        own = {one.name for one in spec.parameters if one.field not in OWN_FIELDS} - FIELDS
        to = Translation(spec, {name: body[name] for name in own if body.get(name) is not None})
        to.ignored = [*_unknown(body, own, self.purpose), *_unused(asked, spec, self.purpose)]
        to.put("prompt", asked.prompt, "prompt")
        to.count(asked.n, "n")
        to.put_default("seed", -1)
        if steps := _steps(asked, spec):
            to.put_default("steps", steps)
        with naming({"format": "output_format"}):
            formats.find(asked.output_format)
        parsed = _from_image(to, asked, body) if self.purpose == "edit" else _from_text(to, asked)
        return as_file(parsed, asked.output_format, asked.file_quality)

    def render(self, call: Call, accepted: Accepted) -> Response:
        found, request = answers.made(accepted), accepted.request
        if self.asked.by_address:
            images = [OpenAIImage(url=file_url(one.name, accepted.base)) for one in found.outputs]
        else:
            images = [OpenAIImage(b64_json=answers.encoded(one, call.files.outputs)) for one in found.outputs]
        first, known = found.outputs[0], self.asked.known_as
        return OpenAIImages(
            created=int(request.timing.ended_at or request.timing.submitted_at),
            background="opaque",
            output_format=self.asked.output_format,
            quality=self.asked.level,
            size=f"{first.width}x{first.height}",
            data=images,
            usage=NO_TOKENS,
            **({"safety_identifier": known} if known else {}),
        ).response(headers=answers.made_headers(accepted))

    def error(self, error: TintypeError) -> Response:
        status, body = in_error(error)
        return body.response(status, error.public_headers(status))


async def _model(model_id: Annotated[str, Path(description="A slug, or an alias")], runtime: RuntimeDep) -> ListedModel:
    """One model of the list, by its slug or an alias; needs no key."""
    found = next((one for one in listed(runtime) if one.id == model_id), None)
    if found is None:
        raise ModelUnknown(f"Model {model_id[:SENT_LENGTH]} not found")
    return found


def _one_image(body: Json) -> object:
    """The image to edit; raises MissingParameter, and Unsupported for several."""
    sent = body.get("image")
    found = [one for one in (sent if isinstance(sent, list) else [sent]) if one not in (None, "")]
    if not found:
        raise MissingParameter("image", WORDS["picture"])
    if len(found) > 1:
        raise Unsupported("too_many_images", "image", f"{len(found)} images", "one image")
    return found[0]


def _from_text(to: Translation, asked: Asked) -> Parsed:
    """A model that takes an image draws on a plain one of the size."""
    size = read_size("size", asked.size)
    if to.spec.takes_image:
        to.draw_on_canvas(to.size(size or default_size(to.spec), "size", asked.size))
    elif size:
        to.size(size, "size", asked.size)
    return to.parsed()


def _from_image(to: Translation, asked: Asked, body: Json) -> Parsed:
    """The image covers the size that is asked for, else a model's own one of the nearest shape."""
    to.put("image", _one_image(body), "image")
    to.put_default("strength", STRENGTHS[asked.input_fidelity])
    if size := read_size("size", asked.size):
        drawn = to.size(size, "size", asked.size)
        return to.parsed().with_size(drawn)
    return replace(to.parsed(), size_for=partial(nearest_shape, to.spec) if sides(to.spec) else None)


def _steps(asked: Asked, spec: ModelSpec) -> int | None:
    """The denoising steps of a quality; None where it has none of its own, or the model's are few or fixed."""
    steps, share = param_of(spec, "steps"), SHARES.get(asked.quality)
    return None if share is None or steps is None or spec.few_steps else round(int(steps.default or 0) * share)


def _unknown(body: Json, own: Collection[str], purpose: Purpose) -> list[str]:
    """Fields of a body that mean nothing here."""
    fields = AskedEdit.model_fields if purpose == "edit" else Asked.model_fields
    sent = (name for name, value in body.items() if value not in (None, ""))
    return sorted(name for name in sent if name not in own and name not in fields)


def _unused(asked: Asked, spec: ModelSpec, purpose: Purpose) -> list[str]:
    """Known fields that mean nothing in this call, and were sent with another value than their default."""
    used = {
        "quality": asked.level == "medium" or _steps(asked, spec) is not None,
        "input_fidelity": purpose == "edit",
        "partial_images": asked.stream,
        "output_compression": asked.output_format != "png",
    }
    fields = Asked.model_fields
    return [name for name, is_used in used.items() if not is_used and getattr(asked, name) != fields[name].default]


def _operation(id: str, summary: str, body: type[Asked]) -> dict[str, Any]:
    """Arguments of a route that makes images."""
    shape, edits = body.model_json_schema(), body is AskedEdit
    example = {"prompt": "a fox in the snow", "n": 1} | ({"image": PORTRAIT.path} if edits else {"size": "512x512"})
    files = {"image": {"type": "string", "format": "binary"}} if edits else {}
    content = {
        "application/json": {"schema": shape, "examples": {"example": {"value": example}}},
        "multipart/form-data": {"schema": shape | {"properties": shape["properties"] | files}},
    }
    known = (400, 403, 404, 409, 413, 415, 429, 502, 504)
    refused = refusals(OpenAIError, *known, words=REFUSALS, told=headers("x-request-id"))
    made = {
        "model": OpenAIImages,
        "description": "The images; with `stream`, events",
        "content": {"text/event-stream": {"schema": {"anyOf": [EVENT, TEXT]}}},
        "headers": headers(*SUBMITTED, *OF_RATE, *MADE),
    }
    words = "Parameters of the model may stand in the body too, such as `seed`."
    more = {"description": words, "response_class": Response, "openapi_extra": takes(content)}
    return described("images", id, f"{summary} (OpenAI)", made, refused, **more)
