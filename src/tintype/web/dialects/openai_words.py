"""What bodies, answers and errors of OpenAI's Images API say."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from tintype import errors as e
from tintype.catalog.spec import MAX_TEXT, WORDS
from tintype.core import Json
from tintype.errors import InvalidParameter, MissingParameter, TintypeError
from tintype.web.declared import Answer, Declared, Number
from tintype.web.dialects.common import AWAY, MIN_QUALITY, ErrorRow, row_of
from tintype.web.wire import Url

#: A quality's share of a model's default steps, where it isn't all of them.
SHARES = {"low": 0.5, "high": 2.0, "hd": 2.0, "xhigh": 2.0, "max": 2.0}
#: Images that say which part of another one is to be redrawn.
MASKS = ("mask", "markup")


def _encodable(text: str) -> str:
    """Refuse a lone surrogate, which JSON allows in a text, and no answer can have."""
    text.encode()  # UnicodeEncodeError is a ValueError
    return text


#: What is answered as it was sent.
Echoed = Annotated[str, AfterValidator(_encodable)]


class Unsupported(InvalidParameter):
    """What isn't offered here, and would be another image than the caller believes."""

    def __init__(self, code: str, name: str, sent: object, allowed: str) -> None:
        super().__init__(name, sent, allowed)
        self.code = code


class Asked(Declared):
    """What a body asks for by this API's own fields, but for images. Null is absent, and so is an empty text."""

    prompt: Annotated[str, Field(max_length=MAX_TEXT)]
    model: str = Field("default", description="a slug, or an alias of the models file")
    n: Annotated[int, Field(ge=1, le=10), Number] = 1
    size: str = Field("auto", description="auto, or WIDTHxHEIGHT in pixels, each 64 to 2048")
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] = "auto"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100), Number] = 100
    response_format: Literal["b64_json", "url"] | None = None
    background: Literal["auto", "opaque"] = "auto"
    input_fidelity: Literal["low", "high"] = "low"
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3), Number] = 0
    user: Echoed = ""
    safety_identifier: Echoed = ""

    @classmethod
    def read(cls, body: Json) -> Self:
        """What a body asks for; raises Unsupported, InvalidParameter and MissingParameter."""
        for name in MASKS:
            if body.get(name) not in (None, ""):
                raise Unsupported("unsupported_parameter", name, "an image", "nothing, as there is no inpainting")
        if body.get("background") == "transparent":
            raise Unsupported("unsupported_value", "background", "transparent", "auto or opaque")
        return cls.model_validate(body)

    @classmethod
    def prepared(cls, sent: Any) -> Any:
        return {name: value for name, value in sent.items() if value is not None and (value != "" or name == "prompt")}

    @property
    def level(self) -> Literal["low", "medium", "high"]:
        """The quality as answers have it."""
        share = SHARES.get(self.quality, 1)
        return "low" if share < 1 else "high" if share > 1 else "medium"

    @property
    def file_quality(self) -> int:
        """Of a file that loses some, as models have it."""
        return max(MIN_QUALITY, self.output_compression)

    @property
    def known_as(self) -> str:
        """Whom the images are for, in the caller's words."""
        return self.safety_identifier or self.user

    @property
    def by_address(self) -> bool:
        """Whether images are answered by their addresses."""
        return (self.response_format or ("url" if self.model.startswith("dall-e") else "b64_json")) == "url"


NOTHING = Asked(prompt="")


class AskedEdit(Asked):
    """The same of an edit, for `/openapi.json`."""

    image: str | list[str] = Field(description=f"One image: a file of a form, or {WORDS['picture']}")


#: This API's own fields, whatever a model's parameters are called.
FIELDS = frozenset((*AskedEdit.model_fields, *MASKS, "style"))


class OpenAITokens(Answer):
    """There are none here."""

    text_tokens: int
    image_tokens: int


class OpenAIUsage(Answer):
    """Of tokens: zeros."""

    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_tokens_details: OpenAITokens


NO_TOKENS = OpenAIUsage(
    total_tokens=0, input_tokens=0, output_tokens=0, input_tokens_details=OpenAITokens(text_tokens=0, image_tokens=0)
)


class OpenAIImage(Answer):
    """An image in base64, or its address."""

    b64_json: str = ""
    url: Url = ""


class OpenAIImages(Answer):
    """The images of a request, in the order of their seeds."""

    created: int
    background: Literal["opaque"]
    output_format: Literal["png", "jpeg", "webp"]
    quality: Literal["low", "medium", "high"]
    size: str
    """Width and height of the finished images in pixels, as 512x768."""
    data: list[OpenAIImage]
    usage: OpenAIUsage
    safety_identifier: str = ""
    """As it was sent, else `user`."""


class OpenAIFault(Answer):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Answer):
    """An error as clients of this API read it."""

    error: OpenAIFault


BAD, SERVER = "invalid_request_error", "server_error"
#: Kinds of errors → their status, type and code; the first that fits.
ERRORS = (
    ErrorRow((MissingParameter,), 400, BAD, "missing_required_parameter"),
    ErrorRow((InvalidParameter,), 400, BAD, "invalid_value"),
    ErrorRow((e.BadPicture,), 400, BAD, "invalid_image_file"),
    ErrorRow((e.BadRequest, e.BodyTooLarge, e.UnsupportedBody, e.TooSlow), 0, BAD),
    ErrorRow((e.Unauthorized,), 401, BAD, "invalid_api_key"),
    ErrorRow((e.Forbidden,), 403, "permission_error", "model_not_allowed"),
    ErrorRow((e.ModelUnknown,), 404, BAD, "model_not_found"),
    ErrorRow((e.NotFound, e.MethodNotAllowed), 0, BAD, "unknown_url"),
    ErrorRow((e.OutOfCredits,), 429, "insufficient_quota", "insufficient_quota"),
    ErrorRow((e.StillRunning,), 409, BAD, "request_in_progress"),
    ErrorRow((e.IdempotencyMismatch,), 400, "idempotency_error"),
    ErrorRow((e.ContentRefused,), 400, "image_generation_user_error", "moderation_blocked"),
    ErrorRow((e.TooManyRequests,), 429, "requests", "rate_limit_exceeded"),
    ErrorRow((e.WaitRanOut,), 504, SERVER, "timeout"),
    ErrorRow((e.WorkerUnavailable,), 502, SERVER, "no_worker"),
    ErrorRow(AWAY, 503, SERVER),
    ErrorRow((TintypeError,), 500, SERVER),
)


def in_error(error: TintypeError) -> tuple[int, OpenAIError]:
    """The status and the body of an error."""
    _, status, kind, code = row_of(error, ERRORS)
    param = "image" if isinstance(error, e.BadPicture) else "model" if isinstance(error, e.ModelUnknown) else None
    if isinstance(error, InvalidParameter | MissingParameter):
        param = error.name
    if isinstance(error, Unsupported):
        code = error.code
    if isinstance(error, e.SentTwice):
        param, code = error.name, "too_many_images" if error.name == "image" else "invalid_value"
    fault = OpenAIFault(message=str(error.public()["error"]), type=kind, param=param, code=code)
    return status, OpenAIError(error=fault)
