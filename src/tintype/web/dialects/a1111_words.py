"""AUTOMATIC1111's words: bodies, what each field is as a parameter of a model, and what is told of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from tintype import __version__
from tintype.catalog.infotext import SHORT_HASH, asked_infotext, infotext, model_hash
from tintype.catalog.parameters import MAX_LORAS, STRONGEST
from tintype.catalog.reuse import LORA
from tintype.catalog.spec import MAX_SIDE, MAX_TEXT, MIN_SIDE
from tintype.core import Fit, GenerationParams, Size
from tintype.errors import BadRequest, InvalidParameter, NotFound
from tintype.samplers import SCHEDULES, known_sampler
from tintype.store.db.records import Request
from tintype.web.declared import Allowed, Answer, Declared, Number
from tintype.web.dialects import a1111_server as server
from tintype.web.dialects.common import (
    Translation,
    finished_size,
    nearest_size,
    nearest_value,
    number,
    param_of,
    rounded,
)
from tintype.web.dialects.samplers import choose

SAMPLER = "Euler"
#: Ways to bring an init image to the wanted size; the last of that program's works on latents.
FITS: tuple[Fit, ...] = ("stretch", "cover", "contain", "stretch")
#: LoRAs that a note names, and the characters of each.
NAMED, SHOWN = 5, 40
#: Fields that would make another image, and what is said where they are on.
WITHOUT = {
    "restore_faces": "faces aren't restored",
    "tiling": "images aren't made to be tiled",
    "enable_hr": "there is no second pass that enlarges",
    "styles": "there are no styles",
    "refiner_checkpoint": "there is no refiner to choose",
}
WHOLE, SIDE = "a whole number", f"a whole number from {MIN_SIDE} to {MAX_SIDE}"

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE), Number, Allowed(SIDE)]
Count = Annotated[int, Field(ge=1), Number, Allowed("a whole number, 1 or more")]
Flag = Annotated[bool, Allowed("true or false")]


class A1111Text(Declared):
    """What is asked for; null means absent, and other fields have no effect."""

    prompt: Text = ""
    negative_prompt: Text = ""
    steps: Annotated[int | None, Number, Allowed(WHOLE)] = Field(None, description="The nearest that the model takes")
    cfg_scale: Annotated[float | None, Field(allow_inf_nan=False), Number, Allowed("a number")] = Field(
        None, description="The nearest that the model takes"
    )
    width: Side = 512
    height: Side = 512
    seed: Annotated[int, Number, Allowed(WHOLE)] = -1
    batch_size: Count = 1
    n_iter: Count = 1
    sampler_name: str = ""
    sampler_index: str = ""
    scheduler: str = ""
    mask: Any = Field(None, description="Refused: there is no inpainting here")
    alwayson_scripts: Annotated[dict[str, Any], Allowed("an empty object")] = Field(
        {}, description="Refused: there are no scripts"
    )
    script_name: str = ""
    override_settings: Annotated[dict[str, Any], Allowed("an object")] = Field(
        {}, description="Of it `sd_model_checkpoint`, for this call alone"
    )
    send_images: Flag = True
    restore_faces: Flag = False
    tiling: Flag = False
    enable_hr: Flag = False
    styles: Annotated[list[str], Allowed("a list of texts")] = Field([])
    clip_skip: Annotated[float, Number, Allowed("a number")] = 1
    refiner_checkpoint: str = ""

    @classmethod
    def prepared(cls, sent: Any) -> Any:
        return {name: value for name, value in sent.items() if value is not None}

    @property
    def checkpoint(self) -> str:
        """What this call alone is to be drawn with, if it says so; raises InvalidParameter."""
        wanted = self.override_settings.get("sd_model_checkpoint") or ""
        if not isinstance(wanted, str):
            raise InvalidParameter("override_settings.sd_model_checkpoint", wanted, "a model's name")
        return wanted

    def refuse(self) -> None:
        """Raise Refused for what would be another image than the caller believes."""
        if self.mask not in (None, ""):
            raise Refused("mask: inpainting is not supported")
        for name in self.alwayson_scripts:
            raise no_script(name)
        if self.script_name:
            raise Refused(f"Script '{self.script_name[:SHOWN]}' not found")

    def notes(self) -> Iterator[str]:
        """What of it has no effect."""
        yield from (f"{name}: {words}" for name, words in WITHOUT.items() if getattr(self, name))
        skipped = max(self.clip_skip, number(self.override_settings.get("CLIP_stop_at_last_layers")) or 1)
        if skipped > 1:
            yield "clip_skip: no layers of the text encoder are left out"


class A1111Image(A1111Text):
    """The same, from an image."""

    init_images: Annotated[list[Any], Allowed("a list with one image: base64, a data: URI, or an address")] = Field(
        [],
        description="One image: base64, a data: URI, or an address",
        json_schema_extra={"items": {"type": "string"}},
    )
    denoising_strength: Annotated[float, Field(ge=0, le=1), Number, Allowed("a number from 0 to 1")] = 0.75
    resize_mode: Annotated[int, Field(ge=0, le=3), Number, Allowed("0, 1, 2 or 3")] = 0
    include_init_images: Flag = False


class A1111Images(Answer):
    """Images, and how they were made."""

    images: list[str] = Field(description="Files in base64")
    parameters: dict[str, Any] = Field(description="The body, as it was sent")
    info: str = Field(description="JSON: seeds, prompts, the model and the texts that the files carry")


class Refused(BadRequest):
    """This server can't do that."""

    status = 422


def no_script(name: str = "") -> Refused:
    """There are none."""
    return Refused(f"always on script {name[:SHOWN]} not found")


class Missing(NotFound):
    """What a body names isn't there."""


# What a body asks for, in the model's own words


def put_prompt(to: Translation, asked: A1111Text) -> None:
    """LoRAs are named in prompts, and taken out of them."""
    param, known, unknown = param_of(to.spec, "loras"), dict[str, str](), dict[str, None]()
    for name, strength in LORA.findall(asked.prompt):
        weight = min(max(number(strength) or 0.0 if strength else 1.0, -STRONGEST), STRONGEST)
        try:
            if param is None or len(known) == MAX_LORAS:
                unknown[name] = None
            else:
                known[name] = str(to.spec.check(param.name, f"{name}:{weight:.2f}"))
        except InvalidParameter:
            unknown[name] = None
    if unknown:
        names = ", ".join(ascii(name[:SHOWN]) for name in [*unknown][:NAMED])
        to.notes.append(f"prompt: {to.spec.slug} doesn't offer the LoRA {names}; it was left out")
    if known:
        to.put("loras", ", ".join(known.values()), "prompt")
    plain = re.sub(" {2,}", " ", LORA.sub("", asked.prompt)).strip()
    to.put("prompt", plain if known or unknown else asked.prompt, "prompt")
    to.put("negative_prompt", asked.negative_prompt, "negative_prompt")


def put_sampler(to: Translation, asked: A1111Text) -> None:
    """Raises Missing for an unknown one."""
    found = choose(to.spec, asked.sampler_name or asked.sampler_index or SAMPLER, asked.scheduler)
    if found is None:
        raise Missing("Sampler not found")
    to.notes += found.notes
    if found.sampler:
        to.put("sampler", found.sampler, "sampler_name")
    if found.schedule:
        to.put("schedule", found.schedule, "scheduler")


def put_nearest(to: Translation, means: str, value: float | None, name: str) -> None:
    """What lies outside of the model's range is brought to its nearest end, with a note."""
    if value is None or (param := param_of(to.spec, means)) is None:
        return
    near = nearest_value(param, value)
    if near != value:
        to.notes.append(f"{name}: {to.spec.slug} takes {param.minimum:g} to {param.maximum:g}, so it is {near:g}")
    to.put(means, near, name)


def put_count(to: Translation, asked: A1111Text) -> None:
    """Raises InvalidParameter for more images than the model makes of one request."""
    param, images = param_of(to.spec, "count"), asked.batch_size * asked.n_iter
    max_ = int(param.maximum or 1) if param else 1
    if images > max_:
        words = f"batch_size × n_iter up to {max_}, which is what {to.spec.slug} makes at a time"
        raise InvalidParameter("batch_size", f"{asked.batch_size} × {asked.n_iter}", words)
    to.put("count", images, "batch_size")


def put_image(to: Translation, asked: A1111Image) -> None:
    """Raises Missing where there is none, InvalidParameter for several."""
    images = asked.init_images
    if len(images) > 1:
        raise InvalidParameter("init_images", f"{len(images)} images", "one image")
    if not images or images[0] in (None, ""):
        raise Missing("Init image not found")
    if not isinstance(images[0], str):
        raise InvalidParameter("init_images", images[0], "base64, a data: URI, or an address")
    to.put("image", images[0], "init_images")
    put_nearest(to, "strength", asked.denoising_strength, "denoising_strength")
    if asked.resize_mode == len(FITS) - 1:
        to.notes.append("resize_mode: the image is stretched, as latents aren't resized here")


def drawn_size(to: Translation, asked: A1111Text) -> Size:
    """The size of the images: of the model's own sizes the nearest, with a note."""
    wanted = rounded(asked.width), rounded(asked.height)
    size = finished_size(to.spec, nearest_size(to.spec, wanted))
    if size != wanted:
        to.notes.append(f"width, height: {to.spec.slug} draws {size[0]}x{size[1]}, the nearest to what was sent")
    to.put_size(size, "width")
    return size


# What was made


def info(request: Request, weights: str, notes: str) -> dict[str, Any]:
    """How a request's images are made, as that program says it. weights: their fingerprint, where no recipe has it."""
    params = request.generation or GenerationParams(steps=0, guidance=0, seed=0, sampler="")
    recipe = request.result.recipe if request.result else None
    size = params.width, params.height
    texts = [
        infotext(recipe.of(seed), size, params.checkpoint, canvas=params.canvas)
        if recipe
        else asked_infotext(request.slug, replace(params, seed=seed), size)
        for seed in params.seeds
    ]
    spec, schedule = known_sampler(params.sampler), SCHEDULES.get(params.schedule)
    said = {"Schedule type": schedule.infotext if schedule else params.schedule, "tintype": notes}
    images, asked = params.count, request.metadata.asked or {}
    return {
        "prompt": params.prompt,
        "all_prompts": [params.prompt] * images,
        "negative_prompt": params.negative_prompt,
        "all_negative_prompts": [params.negative_prompt] * images,
        "seed": params.seed,
        "all_seeds": params.seeds,
        "subseed": -1,
        "all_subseeds": [-1] * images,
        "subseed_strength": 0,
        "width": size[0],
        "height": size[1],
        "sampler_name": (spec and spec.infotext) or params.sampler,
        "cfg_scale": params.guidance,
        "steps": params.steps,
        "batch_size": int(number(asked.get("batch_size")) or images),
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": params.checkpoint,
        "sd_model_hash": model_hash(recipe.weights if recipe else weights)[:SHORT_HASH],
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": None if params.canvas or not params.source else params.strength,
        "extra_generation_params": {name: words for name, words in said.items() if words},
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": [],
        "job_timestamp": server.stamp(request.timing.submitted_at),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": f"tintype {recipe.version if recipe else __version__}",
    }
