"""OpenAI's bodies as each model's parameters, and errors in its words, without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tintype import errors as e
from tintype.catalog.models import MODELS
from tintype.catalog.spec import Parsed, Purpose
from tintype.errors import BadRequest, InvalidParameter, TintypeError
from tintype.web.dialects.common import model_for
from tintype.web.dialects.openai import OpenAI

TURBO, SD15, MEDIUM = "stable-diffusion-3.5-turbo-txt2img", "sd1.5-img2img", "sd3-med-img2img"
OLD_TURBO = "stable-diffusion-3-turbo-img2img"
IMAGE = "https://example.com/a.png"


def parsed(slug: str = TURBO, purpose: Purpose = "generate", **body: Any) -> Parsed:
    return OpenAI(purpose).parse(MODELS[slug], {"prompt": "a fox", **body})


def edited(slug: str = MEDIUM, **body: Any) -> Parsed:
    return parsed(slug, "edit", **{"image": IMAGE, **body})


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ({}, {"prompt": "a fox", "seed": -1, "count": 1, "format": "png", "quality": 100, "width": 1024, "steps": 4}),
        ({"prompt": ""}, {"prompt": ""}),
        ({"n": "3"}, {"count": 3}),
        ({"size": "auto"}, {"width": 1024, "height": 1024}),
        ({"size": ""}, {"width": 1024, "height": 1024}),
        ({"size": "512x768"}, {"width": 512, "height": 768}),
        ({"size": "64x2048"}, {"width": 64, "height": 2048}),
        ({"output_format": "jpeg", "output_compression": "40"}, {"format": "jpeg", "quality": 40}),
        ({"output_format": "webp", "output_compression": 0}, {"format": "webp", "quality": 10}),
        ({"seed": 7, "negative_prompt": "", "exact": "true"}, {"seed": 7, "negative_prompt": "", "exact": True}),
        ({"seed": None}, {"seed": -1}),
        ({"steps": 2, "quality": "high"}, {"steps": 2}),
        ({"quality": "low"}, {"steps": 4}),
        # What the model calls sizes, numbers and files isn't this API's.
        ({"width": 64, "batch_size": 3, "image_format": "webp", "base64": True}, {"width": 1024, "count": 1}),
        ({"n": None, "size": None, "quality": None, "stream": None, "user": None, "model": None}, {"count": 1}),
    ],
)
def test_a_body_for_a_model_that_draws_any_size(body: dict[str, Any], meant: dict[str, Any]) -> None:
    params = parsed(**body).params
    assert {name: getattr(params, name) for name in meant} == meant
    assert params.base64 is False


@pytest.mark.parametrize(
    ("quality", "steps"),
    [
        *dict.fromkeys(("auto", "medium", "standard"), 20).items(),
        *dict.fromkeys(("high", "hd", "xhigh", "max"), 40).items(),
        ("low", 10),
    ],
)
def test_quality_is_steps_within_a_model_s_range(quality: str, steps: int) -> None:
    assert parsed("sd3-med-txt2img", quality=quality).params.steps == steps
    assert parsed(SD15, quality=quality).params.steps == max(20, steps)  # its fewest
    assert parsed(SD15, quality=quality, num_inference_steps=30).params.steps == 30


def test_a_model_that_takes_an_image_draws_on_a_canvas() -> None:
    few, any_size = parsed(SD15), parsed(MEDIUM, size="2048x1024")
    assert (few.canvas, few.params.strength, few.params.width) == ((512, 512), 1, 512)
    assert (any_size.canvas, any_size.params.strength) == ((1440, 720), 1)
    assert any_size.notes == ("size: 2048x1024 was sent, 1440x720 is drawn",)
    assert parsed(MEDIUM).canvas == (1024, 1024)
    assert parsed(SD15, strength=0.3).params.strength == 1
    assert parsed(SD15, strength=0.3).ignored == ("strength",)
    assert parsed(OLD_TURBO).canvas == (1024, 1024)


def test_an_edit_keeps_something_of_its_image() -> None:
    assert [edited(SD15, input_fidelity=one).params.strength for one in ("low", "high", None)] == [0.75, 0.5, 0.75]
    assert edited(SD15, strength=0.9, input_fidelity="high").params.strength == 0.9
    assert edited(image=[IMAGE]).params.source == IMAGE
    assert edited(OLD_TURBO).values["mode"] == "image-to-image"


def test_a_shape_of_the_operator_s_is_the_default_and_no_more() -> None:
    ratio = next(one for one in MODELS[TURBO].parameters if one.name == "aspect_ratio")
    tall = replace(ratio, default="9:16 portrait 768x1344")
    others = tuple(tall if one is ratio else one for one in MODELS[TURBO].parameters)
    spec = replace(MODELS[TURBO], parameters=others)
    sizes = [OpenAI().parse(spec, {"prompt": "a fox", "size": size}).params for size in ("auto", "512x512")]
    assert [(one.width, one.height) for one in sizes] == [(768, 1344), (512, 512)]


def test_the_size_of_an_edit() -> None:
    assert (edited().size_for, edited().params.width) == (None, 0)  # the image's own, fitted
    wanted = edited(size="2000x1000")
    assert (wanted.params.width, wanted.params.height, wanted.params.fit) == (1440, 720, "cover")
    assert wanted.notes == ("size: 2000x1000 was sent, 1440x720 is drawn",)
    assert edited(size="512x768").notes == ()
    nearest = edited(SD15).size_for
    assert nearest
    assert [nearest(size) for size in ((100, 100), (3000, 2000), (500, 900))] == [(512, 512), (768, 512), (512, 768)]
    sized = edited(SD15, size="512x768")
    assert (sized.size_for, sized.values["img_width"], sized.values["img_height"]) == (None, 512, 768)


def test_what_the_model_calls_the_file_says_the_same() -> None:
    assert {**parsed(output_format="webp", output_compression=80).values}.items() >= {
        "image_format": "webp",
        "image_quality": 80,
        "base64": False,
    }.items()
    assert edited(OLD_TURBO, output_format="webp").values["output_format"] == "jpeg"  # webp is none of its words


@pytest.mark.parametrize(
    ("slug", "purpose", "body", "ignored"),
    [
        (TURBO, "generate", {"n": 1, "size": "auto", "quality": "auto", "background": "auto"}, ()),
        (TURBO, "generate", {"output_compression": 100, "partial_images": 0, "moderation": None, "style": ""}, ()),
        (TURBO, "generate", {"style": "vivid", "moderation": "low"}, ("moderation", "style")),
        (TURBO, "generate", {"quality": "hd"}, ("quality",)),
        (TURBO, "generate", {"partial_images": 2, "output_compression": 50}, ("partial_images", "output_compression")),
        (TURBO, "generate", {"partial_images": 2, "stream": "true"}, ()),
        (TURBO, "generate", {"output_format": "jpeg", "output_compression": 5}, ()),
        (TURBO, "generate", {"image": IMAGE, "input_fidelity": "high"}, ("image", "input_fidelity")),
        (TURBO, "generate", {"input_fidelity": "low", "user": "me", "safety_identifier": "x"}, ()),
        (MEDIUM, "edit", {"image": IMAGE, "input_fidelity": "high", "svg": {}, "base64": True}, ("base64", "svg")),
        ("sdxl1.0-txt2img", "generate", {"style": "vivid"}, ("style",)),
    ],
)  # fmt: skip
def test_what_means_nothing_is_named(slug: str, purpose: Purpose, body: dict[str, Any], ignored: tuple[str]) -> None:
    assert parsed(slug, purpose, **body).ignored == ignored


@pytest.mark.parametrize(
    ("slug", "purpose", "body", "param", "code", "words"),
    [
        (TURBO, "generate", {"prompt": None}, "prompt", "missing_required_parameter", "required"),
        (TURBO, "generate", {"prompt": 5}, "prompt", "invalid_value", "5 was sent"),
        (TURBO, "generate", {"prompt": "x" * 20_001}, "prompt", "invalid_value", "was sent"),
        (TURBO, "generate", {"prompt": "\ud800"}, "prompt", "invalid_value", "was sent"),
        (TURBO, "generate", {"user": "\ud800"}, "user", "invalid_value", "was sent"),
        (TURBO, "generate", {"n": 11}, "n", "invalid_value", "1 to 10"),
        (TURBO, "generate", {"n": True}, "n", "invalid_value", "1 to 10"),
        (TURBO, "generate", {"n": "many"}, "n", "invalid_value", "1 to 10"),
        (SD15, "generate", {"n": 5}, "n", "invalid_value", "1 to 4"),
        (OLD_TURBO, "generate", {"n": 2}, "n", "invalid_value", "allowed: 1,"),
        (TURBO, "generate", {"size": "63x64"}, "size", "invalid_value", "64 to 2048"),
        (TURBO, "generate", {"size": 512}, "size", "invalid_value", "64 to 2048"),
        (SD15, "generate", {"size": "1024x1024"}, "size", "invalid_value", "each 512 or 768"),
        (SD15, "edit", {"image": IMAGE, "size": "600x600"}, "size", "invalid_value", "each 512 or 768"),
        ("sd1.5-txt2img", "generate", {"size": "128x512"}, "size", "invalid_value", "256 to 1024"),
        (TURBO, "generate", {"quality": "ultra"}, "quality", "invalid_value", "one of auto, low"),
        (TURBO, "generate", {"output_format": "gif"}, "output_format", "invalid_value", "one of png, jpeg, webp"),
        (TURBO, "generate", {"output_compression": 101}, "output_compression", "invalid_value", "0 to 100"),
        (TURBO, "generate", {"response_format": "bytes"}, "response_format", "invalid_value", "b64_json, url"),
        (TURBO, "generate", {"background": "transparent"}, "background", "unsupported_value", "auto or opaque"),
        (TURBO, "generate", {"background": "green"}, "background", "invalid_value", "one of auto, opaque"),
        (TURBO, "generate", {"stream": "maybe"}, "stream", "invalid_value", "true or false"),
        (TURBO, "generate", {"partial_images": 4}, "partial_images", "invalid_value", "0 to 3"),
        (TURBO, "generate", {"seed": "x"}, "seed", "invalid_value", "'x' was sent"),
        (SD15, "generate", {"num_inference_steps": 2}, "num_inference_steps", "invalid_value", "20 to 100"),
        (TURBO, "generate", {"mask": "eA=="}, "mask", "unsupported_parameter", "no inpainting"),
        (MEDIUM, "edit", {"image": IMAGE, "markup": "a"}, "markup", "unsupported_parameter", "no inpainting"),
        (MEDIUM, "edit", {}, "image", "missing_required_parameter", "required"),
        (MEDIUM, "edit", {"image": []}, "image", "missing_required_parameter", "required"),
        (MEDIUM, "edit", {"image": [IMAGE, IMAGE]}, "image", "too_many_images", "2 images"),
        (MEDIUM, "edit", {"image": [["x"]]}, "image", "invalid_value", "an http"),
    ],
)  # fmt: skip
def test_what_is_refused(slug: str, purpose: Purpose, body: dict[str, Any], param: str, code: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parsed(slug, purpose, **body)
    answer = OpenAI().error(refused.value)
    fault = json.loads(bytes(answer.body))["error"]
    assert (answer.status_code, fault["type"], fault["param"], fault["code"]) == (
        400,
        "invalid_request_error",
        param,
        code,
    )
    assert words in fault["message"]


@pytest.mark.parametrize(
    ("name", "purpose", "words"),
    [
        (TURBO, "edit", f"a model that takes an image and no mask: {SD15}, {MEDIUM}, {OLD_TURBO}, sdxl-img2img"),
        ("sd1.5-inpainting", "edit", "a model that takes an image and no mask"),
        ("sd1.5-inpainting", "generate", f"a model that takes no mask: {SD15}, {MEDIUM}"),
        (7, "generate", "7 was sent; allowed: text"),
    ],
)
def test_a_model_that_can_t_is_not_replaced(name: object, purpose: Purpose, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as refused:
        model_for(MODELS, name, purpose)
    assert refused.value.name == "model"


BAD, SERVER = "invalid_request_error", "server_error"
KEYED = e.WaitRanOut().repeatable(2)


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param", "retry"),
    [
        (e.BadRequest("The body is not valid JSON"), 400, BAD, None, None, None),
        (e.MissingParameter("prompt", "text"), 400, BAD, "missing_required_parameter", "prompt", None),
        (e.InvalidParameter("n", 0, "1"), 400, BAD, "invalid_value", "n", None),
        (e.SentTwice("n"), 400, BAD, "invalid_value", "n", None),
        (e.SentTwice("image"), 400, BAD, "too_many_images", "image", None),
        (e.BadPicture(), 400, BAD, "invalid_image_file", "image", None),
        (e.PictureUnreachable(), 400, BAD, "invalid_image_file", "image", None),
        (e.AddressRefused(), 400, BAD, "invalid_image_file", "image", None),
        (e.WebhookRefused(), 400, BAD, None, None, None),
        (e.HeadTooLarge(), 431, BAD, None, None, None),
        (e.Unauthorized(), 401, BAD, "invalid_api_key", None, None),
        (e.Forbidden(), 403, "permission_error", "model_not_allowed", None, None),
        (e.ModelUnknown(), 404, BAD, "model_not_found", "model", None),
        (e.NotServed(), 404, BAD, "model_not_found", "model", None),
        (e.NotFound(), 404, BAD, "unknown_url", None, None),
        (e.MethodNotAllowed(), 405, BAD, "unknown_url", None, None),
        (e.OutOfCredits(), 429, "insufficient_quota", "insufficient_quota", None, ("false", None)),
        (e.SpendCapReached(), 429, "insufficient_quota", "insufficient_quota", None, ("false", None)),
        (e.StillRunning(), 409, BAD, "request_in_progress", None, ("true", "2")),
        (e.IdempotencyMismatch(), 400, "idempotency_error", None, None, None),
        (e.BodyTooLarge(), 413, BAD, None, None, None),
        (e.UnsupportedBody(), 415, BAD, None, None, None),
        (e.ContentRefused(), 400, "image_generation_user_error", "moderation_blocked", None, None),
        (e.TooManyRequests("slowly", 3.0), 429, "requests", "rate_limit_exceeded", None, ("true", "3")),
        (e.QueueFull("full", 3.0), 429, "requests", "rate_limit_exceeded", None, ("true", "3")),
        (e.StoreUnavailable(), 503, SERVER, None, None, ("true", "2")),
        (e.PerhapsQueued(), 503, SERVER, None, None, ("false", None)),
        (e.StorageUnavailable(), 503, SERVER, None, None, ("true", "5")),
        (e.NotReady(), 503, SERVER, None, None, ("true", "5")),
        (e.Restarting(), 503, SERVER, None, None, ("true", "2")),
        (e.WaitRanOut(), 504, SERVER, "timeout", None, ("false", None)),
        (KEYED, 504, SERVER, "timeout", None, ("true", "2")),
        (e.WorkerUnavailable(), 502, SERVER, "no_worker", None, ("false", None)),
        (e.NoRoom(), 500, SERVER, None, None, ("false", None)),
        (e.Cancelled(), 500, SERVER, None, None, ("false", None)),
        (TintypeError(), 500, SERVER, None, None, ("false", None)),
    ],
)  # fmt: skip
def test_errors_in_its_words(
    error: TintypeError,
    status: int,
    kind: str,
    code: str | None,
    param: str | None,
    retry: tuple[str, str | None] | None,
) -> None:
    answer = OpenAI().error(error)
    fault = {"message": error.message, "type": kind, "param": param, "code": code}
    assert (answer.status_code, json.loads(bytes(answer.body))) == (status, {"error": fault})
    said = answer.headers.get("x-should-retry"), answer.headers.get("retry-after")
    assert said == (retry or (None, None))


OWN = (
    "/v1/images/generations", "/v1/images/variations", "/v1/models/default", "/v1/models/a.b:c", "/images/edits",
    "/v1/responses", "/v1/responses/x", "/responses", "/v1/chat/completions", "/chat/completions",
)  # fmt: skip
OTHERS = (
    "/v1/models", "/v1/models/", "/v1/models/a/b", "/v1/images", "/v2/images/x", "/v1/sd1.5-img2img", "/images",
    "/v1/responsesx", "/v1/v1/images/edits",
)  # fmt: skip


def test_addresses() -> None:
    assert [path for path in (*OWN, *OTHERS) if OpenAI().owns(path)] == [*OWN]
