"""The families' descriptors: what they say of files and models, and that nothing is said twice."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tintype.catalog.models import SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.checkpoints.lora_names import DENOISER, prefixes
from tintype.checkpoints.weights import has_builtin
from tintype.families import FAMILIES, file_kind
from tintype.families.sd3 import SD3
from tintype.families.sd15 import SD15
from tintype.families.sdxl import REFINER, SDXL

SOURCE = Path(__file__).parents[2] / "src" / "tintype"
#: Quoted names of families and of their components; as attributes' names they may occur anywhere.
NAMES = re.compile(
    "|".join(
        f'"{name}"' for family in FAMILIES.values() for name in (family.name, *(one.name for one in family.components))
    )
)


def test_only_descriptors_name_families_and_components() -> None:
    files = [path for path in SOURCE.rglob("*.py") if path.parent.name != "families"]
    said = {str(path.relative_to(SOURCE)): NAMES.findall(path.read_text("utf-8")) for path in files}
    assert {path: found for path, found in said.items() if found} == {}


@pytest.mark.parametrize(
    ("name", "kind", "family"),
    [
        ("model.diffusion_model.input_blocks.1.0.in_layers.0.weight", "Stable Diffusion 1.5", SD15),
        ("down_blocks.0.resnets.0.conv1.weight", "Stable Diffusion 1.5", SD15),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3", SD3),
        ("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight", "Stable Diffusion XL", SDXL),
        ("model.diffusion_model.label_emb.0.0.weight", "Stable Diffusion XL", SDXL),
        ("conditioner.embedders.0.model.ln_final.weight", "Stable Diffusion XL's refiner", REFINER),
        ("lora_unet_down_blocks_0.lora_up.weight", "a LoRA, which goes on top of a model", None),
        ("something.else", "something unknown", None),
    ],
)
def test_a_file_is_told_by_its_tensors(name: str, kind: str, family: object) -> None:
    assert file_kind([name]) == (kind, family)


@pytest.mark.parametrize(
    ("pipeline", "family"),
    [
        ("StableDiffusionPipeline", "sd15"),
        ("StableDiffusionImg2ImgPipeline", "sd15"),
        ("StableDiffusion3Pipeline", "sd3"),
        ("StableDiffusion3Img2ImgPipeline", "sd3"),
        ("StableDiffusionXLPipeline", "sdxl"),
        ("StableDiffusionXLImg2ImgPipeline", "sdxl-refiner sdxl"),
        ("FluxPipeline", None),
    ],
)
def test_a_folder_is_told_by_its_pipeline(pipeline: str, family: str | None) -> None:
    found = [one.name for one in FAMILIES.values() if one.pipelines.fullmatch(pipeline)]
    assert found == (family.split() if family else [])


def test_loras_name_components_as_their_tools_do() -> None:
    named = prefixes()
    assert (named["lora_te_"], named["lora_te1_"], named["lora_te2_"]) == ("text_encoder",) * 2 + ("text_encoder_2",)
    assert {named[prefix] for prefix in ("lora_unet_", "transformer_", "diffusion_model_")} == {DENOISER}
    assert next(one for one in named if "text_encoder_2_to_q".startswith(one)) == "text_encoder_2_"


def test_a_model_asks_only_for_what_its_family_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "redrawing", replace(SD15, name="redrawing", capabilities=frozenset({"image"})))
    assert replace(SD15_IMG2IMG, family="redrawing").needs == "image"
    with pytest.raises(ValueError, match="the family redrawing can't start from text"):
        replace(SD35_TURBO_TXT2IMG, family="redrawing")
    with pytest.raises(ValueError, match="the family sd15 has no samplers "):
        replace(SD35_TURBO_TXT2IMG, family="sd15")
    with pytest.raises(ValueError, match=r"the family sd15 has no samplers euler$"):
        replace(SD15_IMG2IMG, parameters=(), fixed={"sampler": "euler"})


def test_a_family_s_weights_for_few_steps_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bare", replace(SD3, name="bare", builtin=None))
    found = [(has_builtin(name), has_builtin(name, few_steps=True)) for name in ("sd3", "sd15", "bare")]
    assert found == [(True, True), (True, False), (False, False)]
