"""What an image's file says of its making, as parameters for a request."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from tintype.catalog.reuse import file_settings
from tintype.errors import BadPicture
from tintype.media.images import read_texts
from tintype.media.inline import from_text
from tintype.web.declared import Allowed, Answer, Declared
from tintype.web.dependencies import FilesDep, RuntimeDep
from tintype.web.files import Files
from tintype.web.json_body import body_of
from tintype.web.openapi import WITH_BODY, errors
from tintype.web.threads import Threaded

#: A red pixel that says how it was made, as an example.
FOX = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAAI3RFWHRwYXJhbWV0ZXJzAGEgZm94ClN0ZXBzOiAyMC"
    "wgU2VlZDogN/GhDrgAAAAMSURBVHicY/jPwAAAAwEBAMn+ku8AAAAASUVORK5CYII="
)

router = APIRouter(route_class=Threaded, tags=["files"])


class RecipeFile(Declared):
    """An image's file, which may say how it was made."""

    image: Annotated[str, Field(min_length=1), Allowed("a data: URI, base64, or a form's file")]
    model: Annotated[str, Allowed("a model's slug")] = ""
    """The model whose parameters are wanted, if the file names none that is served here."""


class UnknownSetting(Answer):
    """A setting that the model hasn't, or doesn't allow."""

    name: str
    value: str


class FoundSettings(Answer):
    """What the file says, as parameters of a model."""

    model: str
    """The slug of the model that has these parameters."""
    parameters: dict[str, Any]
    """As they can be sent; a seed that JavaScript would round is text."""
    source: Literal["tintype", "a1111"]
    """Whose words they were: a recipe of this server, or A1111's `parameters`."""
    unknown: list[UnknownSetting]
    images: list[str]
    """The parameters of the input images that it was made from, which no file carries."""


Body = body_of(RecipeFile, {"image": FOX}, images=True)


@router.post(
    "/read-recipe",
    operation_id="readRecipe",
    summary="Read from an image's file how it was made",
    responses=errors(401, 404, *WITH_BODY),
)
def read_recipe(files: FilesDep, runtime: RuntimeDep, body: Annotated[RecipeFile, Body]) -> FoundSettings:
    """The settings that an image's file carries: this server's, or those of A1111's web UI. Nothing is stored."""
    said = file_settings(*texts_of(body.image, files), runtime.registry.catalogue, body.model)
    unknown = [UnknownSetting(name=name, value=value) for name, value in said.unknown]
    return FoundSettings.from_record(said, unknown=unknown)


def texts_of(image: str, files: Files) -> tuple[str, str]:
    """What `read_texts` finds in a file that a body has; raises BadPicture."""
    data = from_text(image, files.max_bytes)
    if data is None:
        raise BadPicture("image: an address was sent; the file itself is needed")
    return read_texts(data)
