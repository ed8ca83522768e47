"""The vendor's v1, blocking calls, and its older address of a result."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from pydantic import WithJsonSchema

from tintype.catalog.formats import FORMATS
from tintype.catalog.spec import Catalogue
from tintype.store.webhooks.events import file_url
from tintype.web.auth import Reader
from tintype.web.declared import Answer
from tintype.web.dependencies import BaseUrl, FilesDep, StoreDep
from tintype.web.generate import answers, operations
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.submit import endpoint
from tintype.web.generate.v2 import RESULT, Vendor, polled, request_answer
from tintype.web.responses import StoredFile
from tintype.web.threads import Threaded
from tintype.web.wire import Url


class ImagesInBase64(Answer):
    """With `base64`: the image, or all of them."""

    image: str | list[str]
    status: Literal["Success"]
    infer_time: float
    """Seconds of the model's work."""
    outputs: int
    image_format: Annotated[str, WithJsonSchema({"type": "string", "enum": [*FORMATS]})]


class ImageAddress(Answer):
    """Where one of several images is."""

    url: Url
    seed: str


class ImageAddresses(Answer):
    """Several images without `base64`."""

    images: list[ImageAddress]


class V1(Vendor):
    """Calls wait for their request's end, and are answered with its image."""

    waits = True

    def owns(self, path: str) -> bool:
        return path.startswith("/v1/")

    def routes(self, catalogue: Catalogue) -> APIRouter:
        """One operation per model, and the older poll endpoint."""
        router = APIRouter(prefix="/v1", route_class=Threaded)
        for slug, name in operations.names(catalogue).items():
            spec = catalogue[slug]
            words = operations.run(spec, name, ImagesInBase64 | ImageAddresses)
            router.post(f"/{slug}", **words)(endpoint(self, spec))
        words = {"operation_id": "pollRequest", "summary": "Result of a request (older address)"}
        router.get("/requests/{request_id}", **words, **RESULT)(poll)
        return router

    def render(self, call: Call, accepted: Accepted) -> Response:
        """The image's bytes, or JSON: base64 where the parameters ask for it, addresses of several images."""
        request, outputs = accepted.request, call.files.outputs
        made = answers.made(accepted)
        first = made.outputs[0]
        headers = answers.made_headers(accepted) | {
            "x-generation-time": f"{made.inference_time:g}",
            "x-seed-value": str(made.seed),
            "x-output-metadata": f'{{"width": {first.width}, "height": {first.height}}}',
        }
        if request.params.get("base64"):
            images = [answers.encoded(one, outputs) for one in made.outputs]
            return ImagesInBase64(
                image=images[0] if len(images) == 1 else images,
                status="Success",
                infer_time=made.inference_time,
                outputs=len(images),
                image_format=made.format,
            ).response(headers=headers)
        if len(made.outputs) > 1:
            base = accepted.base
            found = [ImageAddress(url=file_url(one.name, base), seed=str(one.seed)) for one in made.outputs]
            return ImageAddresses(images=found).response(headers=headers)
        run, kind = partial(call.runtime.threads.run, request.account_id), FORMATS[made.format].content_type
        return StoredFile(outputs, first.name, outputs.size(first.name), run=run, headers=headers, media_type=kind)


def poll(key: Reader, request_id: str, http: HttpRequest, store: StoreDep, files: FilesDep, base: BaseUrl) -> Response:
    """The same body as the result endpoint of v2."""
    return request_answer(polled(http, store, request_id, key), files, base)
