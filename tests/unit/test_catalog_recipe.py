"""What files say of how a picture was made: our recipe, and A1111's words for it, as other programs read them."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from PIL import ExifTags, Image
from tests.image_files import saved

from tintype.catalog import infotext as words
from tintype.catalog.infotext import infotext
from tintype.catalog.recipe import notes, read_recipe
from tintype.core import GenerationParams, Recipe
from tintype.errors import BadPicture
from tintype.media.images import MAX_NOTE, encode, read_note

ORDER = GenerationParams(
    prompt="a fox", steps=20, guidance=7.5, seed=5, width=64, height=48, sampler="euler_ancestral", schedule="karras"
)
RECIPE = Recipe(model="sd3", params=ORDER, weights="f" * 24, dtype="float32", t5_tokens=77, source="", version="1.2")
SAMPLE = "/sd-img2img-input.jpeg"
PLAIN = Image.new("RGB", (64, 48), "orange")


def read(text: str) -> tuple[str, str, dict[str, str]]:
    """By the rules of A1111's reader: the last line has the settings, a line's beginning starts the negative prompt."""
    *lines, last = text.strip().split("\n")
    prompt: list[str] = []
    negative: list[str] = []
    meant = prompt
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            meant = negative
        meant.append(line.removeprefix("Negative prompt:").strip() if meant is negative else line)
    found = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    return (
        "\n".join(prompt),
        "\n".join(negative),
        {name: json.loads(value) if value.startswith('"') else value for name, value in found},
    )


def test_all_of_it() -> None:
    order = replace(ORDER, negative_prompt="blurry", strength=0.6, loras="ink:0.5, fur")
    text = infotext(replace(RECIPE, params=order, source="ab"), (512, 768))
    assert text == (
        "a fox\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7.5, Seed: 5, "
        'Size: 512x768, Denoising strength: 0.6, Model: sd3, LoRAs: "ink:0.5, fur", Version: tintype 1.2'
    )
    assert read(text)[2]["LoRAs"] == "ink:0.5, fur"


def test_a_client_of_a1111_s_api_reads_the_model_s_name_and_hash() -> None:
    order = replace(ORDER, strength=1.0)
    said = read(infotext(replace(RECIPE, params=order, source="ab"), (64, 64), "default", canvas=True))[2]
    assert [*said][5:] == ["Size", "Model hash", "Model", "Version"], "no strength: it was made from text"
    assert (said["Model"], said["Model hash"]) == ("default", words.model_hash(RECIPE.weights)[:10])
    asked = replace(order, checkpoint="default", canvas=True)
    assert GenerationParams.from_json(asked.to_json()) == asked
    assert order.to_json().keys() == asked.to_json().keys() - {"checkpoint", "canvas"}, "recipes stay as they were"


def test_text_to_image_says_less() -> None:
    assert infotext(RECIPE, (64, 64)).startswith("a fox\nSteps: 20, ")
    assert "Denoising" not in infotext(RECIPE, (64, 64))


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        'two lines, "quoted": 7\nand 🦊 狐',
        "Negative prompt: no",
        "a\n  Negative prompt: no\nSteps: 3, Sampler: x, Seed: 1",
        "Steps: 3, Sampler: x, Seed: 1, Size: 1x1",
        "a\r\nb\x0bNegative prompt: no\x85Steps: 9",
    ],
)
def test_prompts_are_prompts_whatever_is_in_them(prompt: str) -> None:
    order = replace(ORDER, prompt=prompt, negative_prompt=prompt + "x")
    text = infotext(replace(RECIPE, params=order), (64, 64))
    shown, negative, said = read(text)
    plain = "\n".join(map(str.strip, prompt.splitlines()))
    assert shown.replace(words.UNSEEN, "").split() == plain.split()
    assert negative.replace(words.UNSEEN, "").split() == (plain + "x").split()
    assert (said["Steps"], said["Seed"]) == ("20", "5")
    assert len([line for line in text.split("\n") if line.startswith("Steps: ")]) == 1, "Civitai takes the first"


def test_a_scheduler_that_has_its_schedule_in_its_name() -> None:
    karras = infotext(replace(RECIPE, params=replace(ORDER, sampler="DPM2 a Karras", schedule="")), (64, 64))
    assert "Sampler: DPM2 a, Schedule type: Karras," in karras


def texts(data: bytes) -> tuple[str, str, bytes]:
    """The two of a PNG, or EXIF's description; and EXIF's user comment."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        exif = image.getexif()
        described = exif.get(ExifTags.Base.ImageDescription, "")
        comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
        return image.info.get("tintype", described), image.info.get("parameters", ""), comment


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
@pytest.mark.parametrize("prompt", ['a "fox"\nNegative prompt: 狐 🦊 é', "x" * 20_000])
def test_exif(format: str, prompt: str) -> None:
    recipe = replace(RECIPE, params=replace(ORDER, prompt=prompt))
    note, text = notes(recipe, PLAIN.size)
    data = encode(PLAIN, format, 95, note, text)
    described, _, comment = texts(data)
    assert described.isascii()
    assert read_recipe(read_note(data)) == recipe
    # A1111 (piexif) reads big-endian UTF-16 whatever the block says, others go by the block: it is big-endian too.
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == text
    assert b"Exif\0\0MM\0*" in data or (format == "webp" and b"EXIF" in data and b"MM\0*" in data)


@pytest.mark.parametrize("prompt", ["a fox", 'a "fox"\n狐 🦊', "é" * 20_000])
def test_png(prompt: str) -> None:
    recipe = replace(RECIPE, params=replace(ORDER, prompt=prompt))
    note, text = notes(recipe, PLAIN.size)
    data = encode(PLAIN, "png", 95, note, text)
    assert texts(data)[:2] == (note, text)
    assert read_recipe(read_note(data)) == recipe
    assert (b"tEXtparameters\0" if "狐" not in prompt else b"iTXtparameters\0") in data


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_what_is_too_long_for_exif_is_left_out_the_recipe_last(format: str) -> None:
    half = "x" * (MAX_NOTE // 2)
    note, _, comment = texts(encode(PLAIN, format, 95, f'"{half}"', half))
    assert (len(note), comment) == (len(half) + 2, b"")
    note, _, comment = texts(encode(PLAIN, format, 95, f'"{half}{half}"', "short"))
    assert (note, comment) == ("", b"")


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif"])
def test_without_a_recipe_there_is_nothing(format: str) -> None:
    data = encode(PLAIN, format)
    assert texts(data) == ("", "", b"")
    assert read_note(data) == ""


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_files_of_earlier_versions_can_be_read(format: str) -> None:
    """They had UTF-8 in the EXIF description."""
    recipe = replace(RECIPE, params=replace(ORDER, prompt="Fuchs, 狐 🦊"), version="0.1")
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = notes(recipe, PLAIN.size)[0].encode()
    assert read_recipe(read_note(saved(PLAIN, format, exif=exif))) == recipe


@pytest.mark.parametrize(
    "change",
    [
        *({"guidance": value} for value in ("7.5", None, [1], float("nan"), 1e308, -1)),
        *({"strength": value} for value in ("0.5", 1e9, -1)),
        *({"width": width, "height": height} for width, height in ((-16, -16), (17, 16), (0, 0), (0, 64))),
        *({"seed": seed} for seed in (-1, 2**63)),
        *({name: "x"} for name in ("quality", "format", "base64", "exact")),
        {"inputs": [{"source": SAMPLE, "role": "mask"}]},
        {"image": SAMPLE, "inputs": [{"source": SAMPLE, "role": "mask"}] * 2},
        {"image": SAMPLE, "inputs": [{"source": SAMPLE, "role": "control"}]},
    ],
)
def test_a_recipe_that_could_not_be_ours(change: dict[str, object]) -> None:
    said = RECIPE.to_json()
    with pytest.raises(BadPicture, match="carries no recipe"):
        read_recipe(json.dumps({**said, "order": {**said["order"], **change}, "source": "ab" * ("image" in change)}))


def test_a_watermark_is_named_where_there_is_one() -> None:
    """Files without one are read by earlier versions, too, which refuse what they don't know."""
    assert "mark" not in RECIPE.to_json()
    marked = replace(RECIPE, mark="12347b0c55d1")
    assert read_recipe(notes(marked, PLAIN.size)[0]) == marked


@pytest.mark.parametrize(
    "change",
    [
        {"mask": "ab"},
        {"weights": 5},
        {"version": {}},
        *({"mark": mark} for mark in ("1234", "12347B0C55D1", "12347b0c55d1\n", "../../../../", 5, None)),
    ],
)
def test_what_a_recipe_says_besides(change: dict[str, object]) -> None:
    """A mask without an image that it lies on, above all."""
    for text in (json.dumps({**RECIPE.to_json(), **change}), "[" * 100_000):
        with pytest.raises(BadPicture, match="carries no recipe"):
            read_recipe(text)
