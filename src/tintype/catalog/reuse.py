"""The settings that an image's file carries: of its recipe, or of A1111's words, as parameters of a served model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tintype.catalog.infotext import Infotext, read_infotext
from tintype.catalog.recipe import read_recipe
from tintype.catalog.spec import Catalogue, ModelSpec, Param, Value
from tintype.core import Recipe
from tintype.errors import BadPicture, InvalidParameter
from tintype.samplers import SCHEDULES, SchedulerSpec, known_sampler

#: A1111's names that say what made the image, not how: there is nothing to set.
FACTS = frozenset(("Version", "Model", "Model hash", "VAE hash", "Hashes", "Lora hashes", "TI hashes"))
#: A1111's names of what is a number here, and the field of `GenerationParams` that each is.
NUMBERS = {"Steps": "steps", "CFG scale": "guidance", "Seed": "seed", "LoRAs": "loras"}
#: What a setting that can't be used is cut to, and how many are named.
SHOWN, MAX_UNKNOWN = 100, 50
#: A LoRA in A1111's prompts; a weight of some words, which is text here.
LORA = re.compile(r"<(?:lora|lyco):([^<>:]{1,100})(?::([^<>:]{1,20}))?[^<>]{0,40}>")
WEIGHT = re.compile(r"\([^()\n]{1,200}:[ ]?[0-9]{1,3}(?:\.[0-9]{1,3})?\)")
#: Larger numbers are text: JavaScript would round them.
EXACT = 2**53


@dataclass(frozen=True)
class FileSettings:
    """What a file carries."""

    #: The slug of the model whose parameters these are.
    model: str
    parameters: Mapping[str, Value]
    #: Whose words they were.
    source: Literal["tintype", "a1111"]
    #: Names and values of settings that the model hasn't, or doesn't allow.
    unknown: tuple[tuple[str, str], ...]
    #: The parameters of input images that it was made from: no file carries those.
    images: tuple[str, ...]


def file_settings(note: str, parameters: str, catalogue: Catalogue, slug: str = "") -> FileSettings:
    """Of the texts that `media.images.read_texts` finds; raises BadPicture where they say nothing, NotFound.

    slug: the model that is wanted where the file names none that is served here.
    """
    wanted = catalogue.find(slug) if slug else None
    if note:
        try:
            return _of_recipe(read_recipe(note), catalogue, wanted)
        except BadPicture:
            if not parameters:
                raise
    if not parameters:
        raise BadPicture("the image doesn't say how it was made")
    return _of_infotext(read_infotext(parameters), catalogue, wanted)


@dataclass
class _Found:
    """Settings for a model, as they are found."""

    spec: ModelSpec
    values: dict[str, Value] = field(default_factory=dict)
    unknown: list[tuple[str, str]] = field(default_factory=list)

    def param(self, means: str) -> Param | None:
        """The parameter that fills this field."""
        return next((param for param in self.spec.parameters if param.field == means), None)

    def put(self, means: str, value: Any, said: str, shown: str = "") -> None:
        """Set the parameter that fills this field, or note as unknown what was `said`, and the value as it is shown."""
        param = self.param(means)
        if param is None:
            self.reject(said, shown or str(value))
            return
        try:
            checked = self.spec.check(param.name, value)
        except InvalidParameter:
            self.reject(said, shown or str(value))
        else:
            is_large = type(checked) is int and abs(checked) > EXACT
            self.values[param.name] = str(checked) if is_large else checked

    def reject(self, said: str, value: str) -> None:
        """Note a setting that can't be used, once."""
        one = (said, value[:SHOWN])
        if one not in self.unknown and len(self.unknown) < MAX_UNKNOWN:
            self.unknown.append(one)

    def result(self, source: Literal["tintype", "a1111"], images: tuple[str, ...] = ()) -> FileSettings:
        return FileSettings(self.spec.slug, self.values, source, tuple(self.unknown), images)


def _default(catalogue: Catalogue, *, takes_image: bool) -> ModelSpec:
    every = list(catalogue.values())
    return next((spec for spec in every if spec.takes_image == takes_image), every[0])


def _of_recipe(recipe: Recipe, catalogue: Catalogue, wanted: ModelSpec | None) -> FileSettings:
    spec = catalogue.get(recipe.model) or wanted or _default(catalogue, takes_image=bool(recipe.digests))
    found = _Found(spec)
    if spec.slug != recipe.model:
        found.reject("Model", recipe.model)
    carried = {spec.images[one.role] for one in recipe.params.inputs if one.role in spec.images}
    lost = set(spec.images.values()) - carried
    body = spec.body(recipe.params)
    for param in spec.parameters:
        value = body.get(param.name)
        if value is not None and param.name not in lost:
            found.put(param.field, value, param.field.replace("_", " ").capitalize())
    needed = {spec.images[role] for role in recipe.digests if role in spec.images}
    return found.result("tintype", tuple(sorted(needed & lost)))


def _of_infotext(said: Infotext, catalogue: Catalogue, wanted: ModelSpec | None) -> FileSettings:
    settings = dict(said.settings)
    model = settings.get("Model", "")
    spec = catalogue.get(model) or wanted or _default(catalogue, takes_image="Denoising strength" in settings)
    found = _Found(spec)
    if model and spec.slug != model:
        found.reject("Model", model)
    _prompts(found, said)
    for name, means in NUMBERS.items():
        if name in settings:
            found.put(means, settings.pop(name), name)
    if "Denoising strength" in settings and spec.takes_image:
        found.put("strength", settings.pop("Denoising strength"), "Denoising strength")
    _size(found, settings.pop("Size", ""))
    _sampler(found, settings.pop("Sampler", ""), settings.pop("Schedule type", ""))
    if found.param("count"):
        found.put("count", 1, "")  # the seed is this one image's
    for name, value in settings.items():
        if name not in FACTS:
            found.reject(name, value)
    images = tuple(spec.images.values()) if "Denoising strength" in said.settings else ()
    return found.result("a1111", images)


def _prompts(found: _Found, said: Infotext) -> None:
    loras = LORA.findall(said.prompt)
    found.put("prompt", _without_loras(said.prompt), "Prompt")
    if said.negative_prompt or found.param("negative_prompt"):
        found.put("negative_prompt", _without_loras(said.negative_prompt), "Negative prompt")
    named = ", ".join(f"{name}:{strength}" if strength else name for name, strength in loras)
    if named:
        found.put("loras", named, "LoRA")
    if weight := WEIGHT.search(said.prompt):
        found.reject("Weight in the prompt", weight[0])


def _without_loras(prompt: str) -> str:
    return "\n".join(line.strip() for line in LORA.sub("", prompt).splitlines()).strip()


def _size(found: _Found, size: str) -> None:
    width, _, height = size.lower().partition("x")
    # An image that is made from another one has that one's size.
    if not size or not (found.param("width") and found.param("height")):
        return
    for means, side in (("width", width), ("height", height)):
        found.put(means, side, "Size", size)
    if found.param("aspect_ratio"):
        found.put("aspect_ratio", "custom", "Size", size)


def _sampler(found: _Found, said: str, schedule: str) -> None:
    """Both are one name in a model of diffusers' schedulers, and were one in A1111 before its version 1.9."""
    param = found.param("sampler")
    tries = [(said, schedule)]
    for row in SCHEDULES.values():
        if said.lower().endswith(f" {row.infotext.lower()}"):
            tries.append((said[: -len(row.infotext)].strip(), row.infotext))
    for name, kind in tries if param and said else ():
        for offered in map(str, param.offered if param else ()):
            if _is_called(offered, name, kind):
                found.put("sampler", offered, "Sampler")
                _schedule(found, "" if _has_karras(offered) else kind)
                return
    if said:
        found.reject("Sampler", said)
    _schedule(found, schedule)


def _schedule(found: _Found, said: str) -> None:
    if not said or said == "Automatic":
        return
    known = (name for name, row in SCHEDULES.items() if said.lower() in (row.infotext.lower(), name))
    found.put("schedule", next(known, said), "Schedule type", said)


def _is_called(sampler: str, name: str, schedule: str) -> bool:
    """Whether one of our samplers is what A1111 means by this name and schedule."""
    if sampler.lower() == name.lower():
        return True
    row = known_sampler(sampler)
    is_named = row is not None and bool(row.infotext) and row.infotext.lower() == name.lower()
    return is_named and (not _has_karras(sampler) or schedule.lower() == "karras")


def _has_karras(sampler: str) -> bool:
    row = known_sampler(sampler)
    return isinstance(row, SchedulerSpec) and "use_karras_sigmas" in row.settings
