"""The recipe that a file carries, to make its image again: written twice, for this server and in A1111's words."""

from __future__ import annotations

import json
import re

from tintype.catalog.formats import FORMATS
from tintype.catalog.infotext import infotext
from tintype.catalog.parameters import STRONGEST, read_loras
from tintype.catalog.samples import sample_path
from tintype.catalog.spec import MULTIPLE
from tintype.core import SEEDS, GenerationParams, InputImage, Json, Recipe, Size
from tintype.errors import BadPicture

#: Beyond what any model of the catalogue takes: pixels of a side, steps, guidance.
MAX_PIXELS, MAX_STEPS, MAX_GUIDANCE = 4096, 1000, 1000
#: What a recipe says of a watermark: six bytes, or none.
MARK = re.compile("(?:[0-9a-f]{12})?")


def notes(recipe: Recipe, size: Size, checkpoint: str = "", *, canvas: bool = False) -> tuple[str, str]:
    """What an image's file says of its making: the recipe as JSON in one line, and in A1111's words (`infotext`)."""
    return as_text(recipe), infotext(recipe, size, checkpoint, canvas=canvas)


def as_text(recipe: Recipe) -> str:
    """The recipe as JSON in one line."""
    return json.dumps(recipe.to_json(), ensure_ascii=False)


def read_recipe(text: str) -> Recipe:
    """From a file's note; raises BadPicture for what is no recipe, or has fields of a later version."""
    try:
        said = json.loads(text)
        json.dumps(said, ensure_ascii=False).encode()  # half of a surrogate pair can't be sent
        found = Recipe.from_json(said)
        _check_names(said, found.to_json())
        _check(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadPicture("the image carries no recipe that this version of tintype can read") from error
    return found


def _check_names(said: Json, known: Json) -> None:
    """Raise ValueError for fields that this version doesn't know: the image depends on them."""
    if not (said.keys() <= known.keys() and said["order"].keys() <= known["order"].keys()):
        raise ValueError


def _check(found: Recipe) -> None:
    """Raise ValueError or TypeError unless it could be ours: a file may come from anywhere, and ask for anything."""
    params = found.params
    texts = (params.prompt, params.negative_prompt, params.source, params.sampler, params.schedule, params.loras)
    whole = (params.steps, params.seed, params.count, params.width, params.height, params.quality, found.t5_tokens)
    fractions = (params.strength, params.high_noise_fraction, params.refiner_strength)
    for kinds, values in (
        ((str,), (*texts, params.format, found.model, found.weights, found.source, found.mask, found.version)),
        ((int,), whole),
        ((bool,), (params.base64, params.exact, params.refiner)),
        ((int, float), (*fractions, params.guidance)),
    ):
        if not all(type(value) in kinds for value in values):
            raise TypeError
    sides = params.width, params.height
    could_be = (
        all(0 <= one <= MAX_PIXELS and not one % MULTIPLE for one in sides),
        bool(params.width) == bool(params.height) and (params.width > 0 or found.source != ""),
        1 <= params.steps <= MAX_STEPS and 0 <= params.seed < SEEDS and params.count == 1,
        all(0 <= one <= 1 for one in fractions) and 0 <= params.guidance <= MAX_GUIDANCE,
        params.format in FORMATS and 1 <= params.quality <= 100,
        all(abs(strength) <= STRONGEST for _, strength in read_loras(params.loras)),
        found.dtype in ("float32", "bfloat16") and 0 < found.t5_tokens <= 512,
        # A sample is read where a digest says that there is an image; a mask lies on one.
        params.inputs == sample_inputs(params) and len({one.role for one in params.inputs}) == len(params.inputs),
        {one.role for one in params.inputs} <= found.digests.keys() and (found.source != "" or not found.mask),
        MARK.fullmatch(found.mark),
    )
    if not all(could_be):
        raise ValueError


def sample_inputs(params: GenerationParams) -> tuple[InputImage, ...]:
    """The input images that a recipe names: a caller's own are not passed on."""
    samples = ((sample_path(one.source), one.role) for one in params.inputs)
    return tuple(InputImage(sample, role) for sample, role in samples if sample)
