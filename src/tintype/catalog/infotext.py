"""A recipe in the words of A1111's web UI, which other programs and sites read, and write."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tintype.core import GenerationParams, Recipe, Size
from tintype.errors import BadPicture
from tintype.samplers import SCHEDULES, SchedulerSpec, known_sampler

NEGATIVE = "Negative prompt: "
#: What means something to readers at the beginning of a line.
MEANS = r"(?=[^\S\n]*(?:Negative prompt:|Steps: ))"
MEANING = re.compile(f"^{MEANS}", re.MULTILINE)
#: Makes it plain text; invisible (a zero-width space).
UNSEEN = "\u200b"
SEEN = re.compile(UNSEEN + MEANS)
#: Digits of a model's hash in texts and titles.
SHORT_HASH = 10


def infotext(recipe: Recipe, size: Size, checkpoint: str = "", *, canvas: bool = False) -> str:
    """The prompt, the negative prompt and a line of settings; `size` is the image's width and height in pixels.

    checkpoint: what a client of A1111's API called the model: it knows that by this name and its hash. canvas: whether
    the init image is a plain one of the server's own, as the model needs one: then the image is made from text.
    """
    params, negative = recipe.params, recipe.params.negative_prompt
    lines = [_prompt(params.prompt), *([NEGATIVE + _prompt(negative)] if negative.strip() else [])]
    sampler, schedule = known_sampler(params.sampler), SCHEDULES.get(params.schedule)
    karras = "Karras" if isinstance(sampler, SchedulerSpec) and "use_karras_sigmas" in sampler.settings else ""
    said = {
        "Steps": params.steps,
        "Sampler": (sampler and sampler.infotext) or params.sampler,
        "Schedule type": (schedule.infotext if schedule else params.schedule) or karras,
        "CFG scale": f"{params.guidance:g}",
        "Seed": params.seed,
        "Size": f"{size[0]}x{size[1]}",
        "Denoising strength": f"{params.strength:g}" if recipe.source and not canvas else "",
        # Of others none: sites look files up by it, and a fingerprint of ours is no file's hash.
        "Model hash": model_hash(recipe.weights)[:SHORT_HASH] if checkpoint and recipe.weights else "",
        "Model": checkpoint or recipe.model,
        "LoRAs": params.loras,
        "Version": f"tintype {recipe.version}",
    }
    settings = [f"{name}: {_quoted(str(value))}" for name, value in said.items() if value != ""]
    return "\n".join([*lines, ", ".join(settings)])


def asked_infotext(model: str, asked: GenerationParams, size: Size, weights: str = "") -> str:
    """The same of one image that a request asks for, where no recipe says more. weights: their fingerprint."""
    recipe = Recipe(model=model, params=asked, weights=weights, dtype="", t5_tokens=0, source=asked.source)
    return infotext(recipe, size, asked.checkpoint, canvas=asked.canvas)


def model_hash(fingerprint: str) -> str:
    """64 hexadecimal digits that stand for weights where A1111 has the SHA-256 of a file."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def _prompt(text: str) -> str:
    """Nothing in a prompt may be taken for the lines after it."""
    return MEANING.sub(UNSEEN, "\n".join(text.strip().splitlines()))


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n\"]", value) else value


#: Characters that are read: two prompts of the longest that are sent here are 40,000.
MAX_CHARACTERS = 100_000
#: Settings that are read, and characters of the name of one.
MAX_SETTINGS, MAX_NAME = 100, 60
#: A setting's value: JSON text, or what stands before the next comma.
VALUE = re.compile(r'[ ]{0,9}(?:("(?:[^"\\]|\\.)*")[ ]{0,9}(?=,|$)|([^,]*))')
#: How few settings a last line may have that doesn't begin with the steps: fewer are the end of a prompt.
FEW = 3


@dataclass(frozen=True)
class Infotext:
    """What a text says."""

    prompt: str
    negative_prompt: str
    #: By name, as in `Steps` or `CFG scale`; of a name that comes twice the first.
    settings: Mapping[str, str]


def read_infotext(text: str) -> Infotext:
    """The inverse of `infotext`, for whatever program wrote it; raises BadPicture for other text.

    The prompt comes first, then the negative one, then a line that begins with the steps; extensions add lines to that.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadPicture(f"the text of the settings has {len(text)} characters: {MAX_CHARACTERS} are read")
    lines = text.strip().splitlines()
    start = next((at for at in reversed(range(len(lines))) if lines[at].startswith("Steps: ")), len(lines) - 1)
    settings = _settings(" ".join(lines[start:]))
    if "Steps" not in settings and len(settings) < FEW:
        raise BadPicture("the image carries no settings that this version of tintype can read")
    begin = next((at for at in range(start) if lines[at].startswith(NEGATIVE.strip())), start)
    negative = "\n".join(lines[begin:start]).removeprefix(NEGATIVE.strip())
    prompt, negative = (SEEN.sub("", one).strip() for one in ("\n".join(lines[:begin]), negative))
    return Infotext(prompt, negative, settings)


def _settings(line: str) -> dict[str, str]:
    found = dict[str, str]()
    for name, value in _pairs(line):
        if name and len(name) <= MAX_NAME:
            found.setdefault(name, value)
        if len(found) == MAX_SETTINGS:
            break
    return found


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    at = 0
    while (colon := line.find(":", at)) >= 0:
        # What stands before the name, up to a comma, is no setting.
        name = line[at:colon].rpartition(",")[2].strip()
        if not (found := VALUE.match(line, colon + 1)):
            return
        yield name, _unquoted(found[1]) if found[1] else found[2].strip()
        at = found.end() + 1


def _unquoted(text: str) -> str:
    try:
        said = str(json.loads(text, strict=False))
        said.encode()  # half of a surrogate pair can't be sent
    except ValueError:
        return text[1:-1]
    return said
