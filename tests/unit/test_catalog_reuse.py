"""Settings out of files: our recipes, A1111's words, and what is neither, as hostile as it may be."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from tests.image_files import saved
from tests.unit.test_catalog_recipe import PLAIN, RECIPE, SAMPLE

from tintype.catalog.infotext import MAX_CHARACTERS, MAX_SETTINGS, infotext, read_infotext
from tintype.catalog.models import MODELS, SD3_MEDIUM_IMG2IMG, SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.catalog.recipe import notes
from tintype.catalog.reuse import MAX_UNKNOWN, FileSettings, file_settings
from tintype.core import GenerationParams, InputImage, Recipe
from tintype.errors import BadPicture, NotFound
from tintype.media.images import encode, read_texts
from tintype.samplers import SCHEDULES

TEXT, OLD, MEDIUM = "sd1.5-txt2img", "sd1.5-img2img", "sd3-med-img2img"
#: As A1111 writes it, with what this server has no parameters for.
THEIRS = """a castle, (best quality:1.2) <lora:ink:0.5>
on a hill
Negative prompt: blurry, lowres
worst
Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 12345678901, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned, Clip skip: 2, Lora hashes: "ink: 12, b: 3", Version: v1.10.1"""


def made(slug: str) -> Recipe:
    """The recipe of an image that this model made from its example."""
    spec = MODELS[slug]
    params = replace(spec.parse(dict(spec.example)).params, inputs=(), seed=5)
    return replace(RECIPE, model=slug, params=params, source="ab" if spec.takes_image else "")


def given_back(recipe: Recipe, format: str = "png", catalogue: Any = MODELS, slug: str = "") -> FileSettings:
    return file_settings(*read_texts(encode(PLAIN, format, 95, *notes(recipe, PLAIN.size))), catalogue, slug)


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("slug", MODELS)
def test_what_a_model_made_asks_for_the_same_again(slug: str, format: str) -> None:
    recipe = made(slug)
    said = given_back(recipe, format)
    assert (said.model, said.source, said.unknown) == (slug, "tintype", ())
    spec = MODELS[slug]
    # Their masks and images are theirs to give.
    again = spec.parse({**said.parameters, **dict.fromkeys(spec.images.values(), SAMPLE)}).params
    assert replace(again, inputs=()) == recipe.params
    assert set(said.images) == ({spec.images["init"]} if spec.takes_image else set())


def test_a_sample_is_given_back_and_another_input_image_is_not_made_up() -> None:
    recipe = made(MEDIUM)
    recipe = replace(recipe, params=replace(recipe.params, inputs=(InputImage(SAMPLE),)))
    said = given_back(recipe)
    assert (said.parameters["image"], said.images) == (SAMPLE, ())
    said = given_back(made(MEDIUM))
    assert ("image" in said.parameters, said.images) == (False, ("image",)), "its default is a sample"


def test_a_seed_that_javascript_would_round_is_text() -> None:
    recipe = made(TEXT)
    said = given_back(replace(recipe, params=replace(recipe.params, seed=2**63 - 1)))
    assert said.parameters["seed"] == str(2**63 - 1)


def test_a_model_that_is_not_served_here_is_named() -> None:
    here = type(MODELS)([MODELS[TEXT], MODELS[OLD]])
    said = given_back(made(MEDIUM), catalogue=here)
    assert (said.model, said.unknown[0]) == (OLD, ("Model", MEDIUM))
    assert given_back(made(MEDIUM), catalogue=here, slug=TEXT).model == TEXT
    assert ("Sampler", "dpmpp_2m") in said.unknown, "another family has others"
    with pytest.raises(NotFound, match="none"):
        given_back(made(MEDIUM), slug="none")


def test_what_a_recipe_asks_for_that_no_caller_may() -> None:
    params = replace(made(TEXT).params, steps=1000, guidance=500.0, sampler="x", width=2032)
    said = given_back(replace(made(TEXT), params=params))
    assert said.unknown == (("Sampler", "x"), ("Steps", "1000"), ("Guidance", "500.0"), ("Width", "2032"))
    assert said.parameters["prompt"] == params.prompt


def test_theirs_in_our_parameters() -> None:
    said = file_settings("", THEIRS, MODELS, TEXT)
    assert (said.model, said.source, said.images) == (TEXT, "a1111", ())
    assert said.parameters == {
        "prompt": "a castle, (best quality:1.2)\non a hill",
        "negative_prompt": "blurry, lowres\nworst",
        "num_inference_steps": 30,
        "guidance_scale": 7,
        "seed": 12345678901,
        "img_width": 512,
        "img_height": 768,
        "scheduler": "DPM Multi",
        "samples": 1,
    }
    assert said.unknown == (
        ("Model", "v1-5-pruned"),
        ("LoRA", "ink:0.5"),
        ("Weight in the prompt", "(best quality:1.2)"),
        ("Schedule type", "Karras"),
        ("Clip skip", "2"),
    )


@pytest.mark.parametrize(
    ("slug", "text", "expected"),
    [
        (MEDIUM, "Sampler: DPM++ 2M, Schedule type: Karras", {"sampler": "dpmpp_2m", "scheduler": "karras"}),
        (MEDIUM, "Sampler: DPM++ 2M Karras", {"sampler": "dpmpp_2m", "scheduler": "karras"}),
        (MEDIUM, "Sampler: Euler a, Schedule type: Automatic", {"sampler": "euler_ancestral"}),
        (TEXT, "Sampler: DPM2 a Karras", {"scheduler": "DPM2 a Karras"}),
        (TEXT, "Sampler: DPM2 a, Schedule type: Karras", {"scheduler": "DPM2 a Karras"}),
        (TEXT, "Sampler: DPM2 a", {}),
        (TEXT, "Size: 640x832", {"img_width": 640, "img_height": 832}),
        (OLD, "Size: 640x832", {}),
        (OLD, "Denoising strength: 0.4", {"strength": 0.4}),
        (SD35_TURBO_TXT2IMG.slug, "Size: 640x832", {"width": 640, "height": 832, "aspect_ratio": "custom"}),
    ],
)
def test_one_setting_of_theirs(slug: str, text: str, expected: dict[str, Any]) -> None:
    said = file_settings("", f"a fox\nSteps: 20, {text}, Seed: 1", MODELS, slug)
    named = {"sampler", "scheduler", "img_width", "img_height", "width", "height", "aspect_ratio", "strength"}
    assert {name: value for name, value in said.parameters.items() if name in named} == expected
    assert bool(said.unknown) == (not expected), "what can't be used is named"


def test_a_model_is_chosen_that_can_do_it() -> None:
    assert not MODELS[file_settings("", "a fox\nSteps: 20", MODELS).model].takes_image
    said = file_settings("", "a fox\nSteps: 20, Denoising strength: 0.5", MODELS)
    assert (said.model, said.images) == (SD15_IMG2IMG.slug, ("image",))
    assert file_settings("", f"a fox\nSteps: 20, Model: {MEDIUM}", MODELS, TEXT).model == MEDIUM


@given(
    st.builds(
        GenerationParams,
        prompt=st.text(max_size=80) | st.sampled_from(["Negative prompt: a", "x\nSteps: 3, Seed: 9", "\u200bSteps: 1"]),
        negative_prompt=st.text(max_size=80),
        steps=st.integers(1, 100),
        guidance=st.floats(1, 20).map(lambda value: round(value, 2)),
        seed=st.integers(0, 2**63 - 1),
        width=st.just(64),
        height=st.just(48),
        sampler=st.sampled_from(["euler", "dpmpp_2m", "heun"]),
        schedule=st.sampled_from([*SCHEDULES]),
    )
)
def test_our_own_words_are_read_back(params: GenerationParams) -> None:
    recipe = replace(RECIPE, model=SD3_MEDIUM_IMG2IMG.slug, params=params)
    said = read_infotext(infotext(recipe, (64, 48)))
    lines = [line.strip() for line in params.prompt.strip().splitlines()]
    assert said.prompt.replace("\u200b", "").split() == " ".join(lines).replace("\u200b", "").split()
    numbers = (said.settings["Steps"], said.settings["CFG scale"], said.settings["Seed"])
    assert numbers == (str(params.steps), f"{params.guidance:g}", str(params.seed))
    found = file_settings("", infotext(recipe, (64, 48)), MODELS)
    assert (found.parameters["sampler"], found.parameters["scheduler"]) == (params.sampler, params.schedule)


@given(st.text(alphabet='aS:,"\\\n <lora:>()1.', max_size=300) | st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for one in (text, f"a\nSteps: 20, {text}", f"a\nSteps: 20, Sampler: {text}, Seed: {text}, Size: {text}"):
        try:
            said = file_settings(text, one, MODELS)
        except BadPicture:
            continue
        MODELS[said.model].validate({**MODELS[said.model].example, **said.parameters})


@pytest.mark.parametrize("text", ["", "a fox", "a fox, Seed: 1", '{"prompt": "a fox", "steps": 20}', "[" * 50_000])
def test_other_text_says_nothing(text: str) -> None:
    with pytest.raises(BadPicture):
        file_settings("", text, MODELS)


def test_half_a_surrogate_pair_is_not_given_back() -> None:
    said = file_settings(
        "", r'a\nSteps: 1, Model: "\ud800", Sampler: "\ud800", Other: "\ud800"'.replace(r"\n", "\n"), MODELS
    )
    assert said.unknown
    str(said).encode()
    note = notes(replace(made(TEXT), model="\ud800", params=replace(made(TEXT).params, prompt="\ud800")), PLAIN.size)[0]
    with pytest.raises(BadPicture):
        file_settings(note.encode("ascii", "backslashreplace").decode(), "", MODELS)


def test_there_is_an_end_to_what_is_read() -> None:
    with pytest.raises(BadPicture, match="are read"):
        read_infotext("a" * MAX_CHARACTERS + "\nSteps: 1")
    many = "Steps: 1, " + ", ".join(f"n{number}: {'v' * 500}" for number in range(150))
    assert len(read_infotext(many).settings) == MAX_SETTINGS
    said = file_settings("", many, MODELS)
    assert len(said.unknown) == MAX_UNKNOWN
    assert max(len(value) for _, value in said.unknown) == 100


@pytest.mark.parametrize(
    "piece", ['a:"', " ", '"\\\\', "(a:", "<lora:a", "\n", "\u200b ", "Steps: ", "Negative prompt:\n"]
)
def test_no_text_takes_long(piece: str) -> None:
    """By the test's own time limit: what is not linear would take minutes."""
    text = (piece * MAX_CHARACTERS)[: MAX_CHARACTERS - 100]
    for one in (text, f"{text}\nSteps: 1, a: b", f"a\nSteps: 1, {text}"):
        try:
            file_settings("", one, MODELS, TEXT)
        except BadPicture:
            continue


# What other programs write


def png(*chunks: tuple[bytes, bytes], after: bool = False) -> bytes:
    """With these chunks before or after its pixels."""
    data = saved(PLAIN)
    at = data.index(b"IEND" if after else b"IDAT") - 4
    said = b"".join(
        struct.pack(">I", len(body)) + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    return data[:at] + said + data[at:]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"parameters\0" + "é\nSteps: 1".encode("latin-1")),
        (b"tEXt", b"parameters\0" + "é\nSteps: 1".encode()),
        (b"iTXt", b"parameters\0\0\0\0\0" + "é\nSteps: 1".encode()),
        (b"zTXt", b"parameters\0\0" + zlib.compress("é\nSteps: 1".encode("latin-1"))),
    ],
)
def test_texts_of_a_png(chunk: tuple[bytes, bytes], after: bool) -> None:
    assert read_texts(png(chunk, after=after)) == ("", "é\nSteps: 1")


def test_a_damaged_png_s_texts_are_read_all_the_same() -> None:
    data = png((b"tEXt", b"parameters\0Steps: 1"))
    assert read_texts(data[: data.index(b"IDAT") + 8]) == ("", "Steps: 1")


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + "é\nSteps: 1".encode("utf-16-be"),
        b"UNICODE\0" + "é\nSteps: 1".encode("utf-16-le"),
        b"ASCII\0\0\0" + "é\nSteps: 1".encode(),
        bytes(8) + "é\nSteps: 1".encode(),
    ],
)
def test_comments_of_exif(format: str, comment: bytes) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    assert read_texts(saved(PLAIN, format, exif=exif)) == ("", "é\nSteps: 1")


@given(st.binary(max_size=200))
def test_exif_that_is_none(exif: bytes) -> None:
    for one in (exif, b"Exif\0\0MM\0*\0\0\0\x08" + exif, b"Exif\0\0II*\0\x08\0\0\0" + exif):
        read_texts(saved(PLAIN, "JPEG", exif=one))


@given(st.data())
def test_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadPicture):
        file_settings(*read_texts(bytes(file[: data.draw(st.integers(0, len(file)))])), MODELS)


FILES = [encode(PLAIN, format, 50, *notes(made(TEXT), PLAIN.size)) for format in ("jpeg", "png", "webp", "avif")]
