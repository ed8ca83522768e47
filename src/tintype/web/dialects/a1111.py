"""AUTOMATIC1111's API: `/sdapi/v1/txt2img` and `img2img`, which wait for their images.

a1111_words.py has its bodies and answers, a1111_server.py what its clients ask besides.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from tintype import errors as e
from tintype.catalog.spec import Catalogue, ModelSpec, Parsed, Purpose
from tintype.core import IMAGE_ROLES, Json
from tintype.errors import TintypeError
from tintype.store.accounts.options import KeyOptions
from tintype.store.db.records import Request
from tintype.web.declared import Declared
from tintype.web.dialects import a1111_server as server
from tintype.web.dialects import a1111_words as words
from tintype.web.dialects.a1111_words import A1111Image, A1111Images, A1111Text, Missing
from tintype.web.dialects.common import (
    QUALITY,
    ErrorRow,
    Translation,
    as_file,
    check_json,
    described,
    model_for,
    row_of,
)
from tintype.web.generate import answers
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.recipes import FOX
from tintype.web.generate.submit import CallDep, generate, takes
from tintype.web.openapi import headers
from tintype.web.threads import in_thread

#: Kinds of errors whose status or words are others here; the first that fits. The longer words are next to them.
ERRORS = (
    ErrorRow((e.InvalidParameter, e.MissingParameter, e.BadPicture, e.DontFit), 422),
    ErrorRow((e.OutOfCredits,), 402),
    ErrorRow((e.NoRoom,), 500),
    ErrorRow((e.ModelUnknown,), name="Model not found"),
    ErrorRow((Missing,)),
    ErrorRow((e.NotFound,), name="Not Found"),
    ErrorRow((e.MethodNotAllowed,), name="Method Not Allowed"),
)


@dataclass(eq=False)
class A1111:
    """`txt2img`; for another purpose `img2img`. Each call has a copy of its own."""

    purpose: Purpose = "generate"
    options: KeyOptions = field(default_factory=KeyOptions)
    #: Once a call's body is read: what it asks for, and the name that its caller has for the model.
    asked: A1111Text = field(default_factory=A1111Text)
    checkpoint: str = ""
    #: Its init images, where they are to be sent back; `held` counts them until the call has ended.
    init_images: list[str] | None = None
    held: ExitStack = field(default_factory=ExitStack)

    name = server.NAME
    schemes = ("bearer", "token", "basic")
    waits = True
    cancels = True

    def owns(self, path: str) -> bool:
        return path.startswith("/sdapi/")

    def routes(self, catalogue: Catalogue) -> APIRouter:
        """Both purposes, and what its clients ask besides."""
        router = server.server_router()
        text = operation(A1111Text, "a1111Txt2img", "Images from text")
        router.post("/txt2img", **text)(self.endpoint(catalogue))
        image = operation(A1111Image, "a1111Img2img", "Images from another image")
        router.post("/img2img", **image)(replace(self, purpose="edit").endpoint(catalogue))
        return router

    def endpoint(self, catalogue: Catalogue) -> Callable[..., Awaitable[Response]]:
        """The operation of its purpose."""

        async def images(call: CallDep) -> Response:
            """Wait for the images. A call that ends without them cancels its request, unless it can be repeated."""
            check_json(call.http)
            options, known = await in_thread(call.http, known_of, call)
            with ExitStack() as held:
                own = replace(self, options=options, held=held)
                return await generate(call, own, partial(own.find, call, catalogue, known))

        return images

    def find(self, call: Call, catalogue: Catalogue, known: server.Checkpoints, body: Json) -> ModelSpec:
        """The model that a body is for; raises Refused, ModelUnknown, InvalidParameter."""
        self.asked = (A1111Image if self.purpose == "edit" else A1111Text).model_validate(body)
        self.asked.refuse()
        self.checkpoint = known.find(self.asked.checkpoint or self.options.checkpoint or server.DEFAULT)
        if isinstance(self.asked, A1111Image) and self.asked.include_init_images:
            self.init_images = [one for one in self.asked.init_images if isinstance(one, str)]
            size = sum(map(len, self.init_images))
            self.held.enter_context(call.runtime.bodies.holding(call.key.account_id, size))
        return model_for(catalogue, self.checkpoint, self.purpose, "sd_model_checkpoint")

    def parse(self, spec: ModelSpec, _body: Json, /) -> Parsed:
        asked = self.asked
        to = Translation(spec, notes=[*asked.notes()])
        words.put_prompt(to, asked)
        words.put_sampler(to, asked)
        words.put_nearest(to, "steps", asked.steps, "steps")
        words.put_nearest(to, "guidance", asked.cfg_scale, "cfg_scale")
        to.put("seed", asked.seed, "seed")
        words.put_count(to, asked)
        size, fit = words.drawn_size(to, asked), words.FITS[0]
        if isinstance(asked, A1111Image):
            fit = words.FITS[asked.resize_mode]
            words.put_image(to, asked)
            self.asked = asked.model_copy(update={"init_images": []})  # it is stored: the call needn't hold it
        elif spec.takes_image:
            to.draw_on_canvas(size)
        format, quality = self.options.samples_format or server.PNG, self.options.jpeg_quality or QUALITY
        parsed = as_file(to.parsed().with_size(size), format, quality)
        params = replace(parsed.params, fit=fit, checkpoint=self.checkpoint, canvas=to.canvas is not None)
        return replace(parsed, params=params, ignored=())

    def render(self, call: Call, accepted: Accepted) -> Response:
        """The files in base64; none where the request was interrupted."""
        request, files = accepted.request, call.files.outputs
        params = {name: value for name, value in request.params.items() if name not in IMAGE_ROLES}
        asked = dict(params if request.metadata.asked is None else request.metadata.asked)
        about = answers.made_headers(accepted)
        outputs = () if interrupted(request) else answers.made(accepted).outputs
        shown = outputs if self.asked.send_images else ()
        if "init_images" in asked:
            asked["init_images"] = self.init_images
        said = words.info(request, call.runtime.registry.fingerprint(request.slug), about.get("x-warning", ""))
        answer = A1111Images(
            images=[answers.encoded(one, files) for one in shown], parameters=asked, info=json.dumps(said)
        )
        return answer.response(headers=about)

    def error(self, error: TintypeError) -> Response:
        if isinstance(error, e.TextTooLong) and error.place[:1] == ("alwayson_scripts",):  # an image, as ControlNet has
            error = words.no_script(*error.place[1:2])
        row, message = row_of(error, ERRORS), str(error.public()["error"])
        about = error.public_headers(row.status)
        if isinstance(error, e.Unauthorized):
            about["www-authenticate"] = 'Basic realm="tintype"'
        fault = server.A1111Error(error="HTTPException", detail=row.name or message, body="", errors=message)
        return fault.response(row.status, about)


def operation(body: type[Declared], id: str, summary: str) -> dict[str, Any]:
    """Arguments of the route of one of the two operations."""
    told = ("x-request-id", "x-warning", "Idempotent-Replayed", "x-cost", "x-weights", "x-cold-start")
    made = {"description": "The images; none where the request was interrupted", "headers": headers(*told)}
    image = {"init_images": [FOX]} if "init_images" in body.model_fields else {}
    example = {"prompt": "a fox", **image, "steps": 4, "cfg_scale": 1, "width": 512, "height": 512}
    shape = {"schema": body.model_json_schema(), "example": example}
    refused = server.faults(400, 402, 403, 404, 409, 413, 415, 422, 429, 502, 504)
    extra = takes({"application/json": shape})
    return described("images", id, summary, made, refused, response_model=A1111Images, openapi_extra=extra)


def known_of(call: Call) -> tuple[KeyOptions, server.Checkpoints]:
    """What is set for a call's key, and the models that it can choose from."""
    return call.store.accounts.options.of(call.key.id), server.Checkpoints.of(call.runtime.registry)


def interrupted(request: Request) -> bool:
    """Whether a call has cancelled it; a Cancel-After that has passed is an error."""
    return request.outcome == "cancelled" and not request.timed_out
