"""The same toy weights in every layout, in true key names: the pictures must be the same; what is broken is named."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.integration.conftest import T5_TOKENS
from tests.integration.drawing import pixels, whole
from tests.original_layouts import original_mmdit, original_open_clip, original_unet, original_vae
from tests.toy_weights import CLIP, CLIP_G, SDXL_UNET, TRANSFORMER, UNET, image_spec
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.weights import Lora, WeightsSpec
from tintype.diffusion import loading
from tintype.diffusion.check import check
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.diffusion.loading import load
from tintype.engine import Engine
from tintype.errors import InvalidParameter, WeightsUnusable
from tintype.families.sd3 import T5 as T5_SPEC

JOB = image_spec(prompt="a fox", steps=2, guidance=4.0, seed=1, sampler="DDIM", width=64, height=64)
SD3_JOB = image_spec(
    prompt="A Fox", steps=2, guidance=4.0, seed=1, sampler="euler", schedule="sgm_uniform", width=64, height=64
)
#: What shapes can't say is as in the published models: 8 heads in the UNet, heads of 64, normalisation over 32 groups.
WIDE_CLIP = CLIP | {"hidden_size": 64, "num_attention_heads": 1, "projection_dim": 64}
KL = {
    "block_out_channels": (32, 32, 32, 64),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
SD15: dict[str, Any] = {
    "text_encoder": ("CLIPTextModel", WIDE_CLIP),
    "vae": ("AutoencoderKL", KL),
    "unet": (
        "UNet2DConditionModel",
        UNET
        | {
            "cross_attention_dim": 64,
            "attention_head_dim": 8,
            "norm_num_groups": 32,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        },
    ),
}
SD3: dict[str, Any] = {
    "text_encoder": ("CLIPTextModelWithProjection", WIDE_CLIP),
    "text_encoder_2": ("CLIPTextModelWithProjection", WIDE_CLIP | {"hidden_act": "gelu"}),
    "vae": (
        "AutoencoderKL",
        KL
        | {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609}
        | {"use_quant_conv": False, "use_post_quant_conv": False},
    ),
    "transformer": (
        "SD3Transformer2DModel",
        TRANSFORMER
        | {"attention_head_dim": 64, "caption_projection_dim": 64, "joint_attention_dim": 128}
        | {"pooled_projection_dim": 128, "dual_attention_layers": (0,)},
    ),
}
#: In the UNet heads of 64, and 256 numbers for each size.
SDXL: dict[str, Any] = {
    "text_encoder": ("CLIPTextModel", WIDE_CLIP),
    "text_encoder_2": (
        "CLIPTextModelWithProjection",
        CLIP_G | {"hidden_size": 128, "num_attention_heads": 2},
    ),
    "vae": ("AutoencoderKL", KL | {"scaling_factor": 0.13025}),
    "unet": (
        "UNet2DConditionModel",
        SDXL_UNET
        | {
            "block_out_channels": (64, 128),
            "cross_attention_dim": 192,
            "attention_head_dim": (1, 2),
            "norm_num_groups": 32,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 40 + 6 * 256,
        },
    ),
}
T5 = {"vocab_size": 60, "d_model": 128, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}


@pytest.fixture(scope="module")
def sd15_folder(folder: Callable[..., Path]) -> Path:
    """SD 1.5 at toy size, with what the published folder has that the shared toy hasn't."""
    return folder("layouts-sd15", "sd15", **SD15)


@pytest.fixture(scope="module")
def sdxl_folder(folder: Callable[..., Path]) -> Path:
    """SDXL at toy size, with what the published folder has that the shared toy hasn't."""
    return folder("layouts-sdxl", "sdxl", **SDXL)


@pytest.fixture(scope="module")
def sd3_folder(folder: Callable[..., Path]) -> Path:
    """SD 3 at toy size with T5; its first encoder's projection is the identity, as in the published folder."""
    path = folder("layouts-sd3", "sd3", **SD3)
    if not (path / "tokenizer_3").exists():
        file = path / "text_encoder" / "model.safetensors"
        save_file(load_file(file) | {"text_projection.weight": torch.eye(64)}, file, metadata={"format": "pt"})
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
            torch.manual_seed(3)
            T5EncoderModel(T5Config(**T5, feed_forward_proj="gated-gelu")).save_pretrained(path / "text_encoder_3")
        index = json.loads((path / "model_index.json").read_text())
        index |= {"text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer_3": ["transformers", "T5Tokenizer"]}
        (path / "model_index.json").write_text(json.dumps(index))
        letters = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
        T5Tokenizer(vocab=[(letter, -2.0) for letter in letters], extra_ids=0).save_pretrained(path / "tokenizer_3")
    return path


def tensors(folder: Path, component: str) -> dict[str, torch.Tensor]:
    """What a component's file holds, in the library's names."""
    [file] = (folder / component).glob("*.safetensors")
    return load_file(file)


def under(prefix: str, content: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with every name after a prefix."""
    return {prefix + name: tensor for name, tensor in content.items()}


def written(path: Path, content: dict[str, torch.Tensor], **metadata: str) -> Path:
    """A file of them."""
    save_file(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in content.items()},
        path,
        metadata or None,
    )
    return path


def sd15_originals(folder: Path) -> dict[str, torch.Tensor]:
    """As v1-5-pruned-emaonly.safetensors: three networks, and what its training left behind."""
    spare = {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "alphas_cumprod": torch.ones(1000),
        "model_ema.decay": torch.ones(()),
    }
    return {
        **original_unet(tensors(folder, "unet"), 2, 1),
        **original_vae(tensors(folder, "vae"), 4),
        **under("cond_stage_model.transformer.", tensors(folder, "text_encoder")),
        **spare,
    }


def sdxl_originals(folder: Path) -> dict[str, torch.Tensor]:
    """As sd_xl_base_1.0_0.9vae.safetensors: four networks, and what its training left behind."""
    return {
        **original_unet(tensors(folder, "unet"), 2, 1),
        **original_vae(tensors(folder, "vae"), 4),
        **under("conditioner.embedders.0.transformer.text_model.", tensors(folder, "text_encoder")),
        **under("conditioner.embedders.1.model.", original_open_clip(tensors(folder, "text_encoder_2"))),
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "denoiser.sigmas": torch.ones(1000),
    }


def sd3_originals(folder: Path) -> dict[str, torch.Tensor]:
    """As sd3_medium.safetensors: the transformer and the autoencoder."""
    return {**original_mmdit(tensors(folder, "transformer")), **original_vae(tensors(folder, "vae"), 4)}


def sd3_encoders(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """As text_encoders/*.safetensors beside it; in the first one lies a projection that SD 3 doesn't use."""
    used = tensors(folder, "text_encoder")
    spare = {"text_projection.weight": torch.full((64, 64), 9.0), "logit_scale": torch.tensor(4.6)}
    t5 = {name: one for name, one in tensors(folder, "text_encoder_3").items() if name != "encoder.embed_tokens.weight"}
    return {"clip_l": used | spare, "clip_g": tensors(folder, "text_encoder_2"), "t5xxl": t5}


def open_family(family: str, path: Path, *loras: Lora, **parts: Path) -> Family:
    """Load in float32 on the CPU."""
    return load_family(family, weights_of(path, *loras, **parts), torch.device("cpu"), torch.float32, T5_TOKENS)


def weights_of(path: Path, *loras: Lora, **parts: Path) -> WeightsSpec:
    """Weights with parts from elsewhere and LoRAs on top."""
    return WeightsSpec(path, loras, tuple(parts.items()))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether both have the same numbers under the same names."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def component_of(checkpoint: Checkpoint, name: str) -> Any:
    """A component by its name."""
    [spec] = [one for one in checkpoint.family.components if one.name == name]
    return checkpoint.component(spec)


def same_model(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether all networks are the same, number for number."""
    return all(same(one.component(spec).tensors(), other.component(spec).tensors()) for spec in one.family.components)


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Pictures of equal numbers, which a processor rounds differently where they lie differently in memory."""
    return bool((one.int() - other.int()).abs().max() <= 1)


def test_sd15_from_one_file(sd15_folder: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "model.safetensors", sd15_originals(sd15_folder))
    expected = pixels(open_family("sd15", sd15_folder), JOB)
    assert expected.float().std() > 5
    assert near(pixels(open_family("sd15", file, tokenizers=sd15_folder), JOB), expected)
    assert same_model(Checkpoint(WeightsSpec(file), "sd15"), Checkpoint(WeightsSpec(sd15_folder), "sd15"))
    assert check(weights_of(file, tokenizers=sd15_folder), "sd15") == []


def test_sdxl_from_one_file_and_from_one_per_network(sdxl_folder: Path, tmp_path: Path) -> None:
    whole = sdxl_originals(sdxl_folder)
    file = written(tmp_path / "model.safetensors", whole)
    expected = pixels(open_family("sdxl", sdxl_folder), JOB)
    assert expected.float().std() > 5
    assert near(pixels(open_family("sdxl", file, tokenizers=sdxl_folder), JOB), expected)
    assert same_model(Checkpoint(WeightsSpec(file), "sdxl"), Checkpoint(WeightsSpec(sdxl_folder), "sdxl"))
    assert check(weights_of(file, tokenizers=sdxl_folder), "sdxl") == check(WeightsSpec(sdxl_folder), "sdxl") == []
    config = Checkpoint(WeightsSpec(file), "sdxl").scheduler
    assert (config["timestep_spacing"], config["steps_offset"], config["prediction_type"]) == ("leading", 1, "epsilon")
    prefix = "model.diffusion_model."
    unet = {name.removeprefix(prefix): tensor for name, tensor in whole.items() if name.startswith(prefix)}
    parts = {
        # As madebyollin/sdxl-vae-fp16-fix: of diffusers' names, alone.
        "vae": written(tmp_path / "sdxl_vae.safetensors", tensors(sdxl_folder, "vae")),
        "text_encoder": written(tmp_path / "clip_l.safetensors", tensors(sdxl_folder, "text_encoder")),
        "text_encoder_2": written(tmp_path / "clip_g.safetensors", tensors(sdxl_folder, "text_encoder_2")),
        "tokenizers": sdxl_folder,
    }
    split = open_family("sdxl", written(tmp_path / "unet.safetensors", unet), **parts)
    assert near(pixels(split, JOB), expected)


def test_sd3_from_one_file(sd3_folder: Path, tmp_path: Path) -> None:
    encoders = [under(f"text_encoders.{name}.transformer.", one) for name, one in sd3_encoders(sd3_folder).items()]
    whole = {name: tensor for part in (sd3_originals(sd3_folder), *encoders) for name, tensor in part.items()}
    file = written(tmp_path / "sd3_medium_incl_clips_t5xxlfp16.safetensors", whole)
    expected = pixels(open_family("sd3", sd3_folder), SD3_JOB)
    assert expected.float().std() > 5
    assert near(pixels(open_family("sd3", file, tokenizers=sd3_folder), SD3_JOB), expected)
    assert same_model(Checkpoint(WeightsSpec(file), "sd3"), Checkpoint(WeightsSpec(sd3_folder), "sd3"))
    assert check(weights_of(file, tokenizers=sd3_folder), "sd3") == check(WeightsSpec(sd3_folder), "sd3") == []


def test_sd3_from_a_file_per_network(sd3_folder: Path, tmp_path: Path) -> None:
    denoiser = original_mmdit(tensors(sd3_folder, "transformer"))
    bare = {name.removeprefix("model.diffusion_model."): one for name, one in denoiser.items()}
    files = {name: written(tmp_path / f"{name}.safetensors", one) for name, one in sd3_encoders(sd3_folder).items()}
    parts = {
        "text_encoder": files["clip_l"],
        "text_encoder_2": files["clip_g"],
        "text_encoder_3": files["t5xxl"],
        "vae": written(tmp_path / "vae.safetensors", original_vae(tensors(sd3_folder, "vae"), 4)),
        "tokenizer_3": sd3_folder / "tokenizer_3",
        "tokenizers": sd3_folder,
    }
    split = open_family("sd3", written(tmp_path / "sd3.5_large.safetensors", bare), **parts)
    assert near(pixels(split, SD3_JOB), pixels(open_family("sd3", sd3_folder), SD3_JOB))
    # And as parts of a folder: the file of one network in place of the folder's.
    mixed = Checkpoint(weights_of(sd3_folder, vae=parts["vae"], text_encoder=sd3_folder / "text_encoder"), "sd3")
    assert component_of(mixed, "vae").tensors().keys() == tensors(sd3_folder, "vae").keys()
    assert component_of(mixed, "text_encoder").class_name == "CLIPTextModelWithProjection"


def test_sd3_without_t5(sd3_folder: Path, tmp_path: Path) -> None:
    encoders = sd3_encoders(sd3_folder)
    content = sd3_originals(sd3_folder)
    for name in ("clip_l", "clip_g"):
        content |= under(f"text_encoders.{name}.transformer.", encoders[name])
    checkpoint = Checkpoint(weights_of(written(tmp_path / "m.safetensors", content), tokenizers=sd3_folder), "sd3")
    assert (component_of(checkpoint, "text_encoder_3"), checkpoint.tokenizer(T5_SPEC)) == (None, None)
    left_out = Checkpoint(WeightsSpec(sd3_folder, t5="none"), "sd3")
    assert (component_of(left_out, "text_encoder_3"), left_out.tokenizer(T5_SPEC)) == (None, None)
    assert checkpoint.scheduler["shift"] == 3.0


def test_a_tiny_autoencoder_from_its_file(folder: Callable[..., Path], sd15_folder: Path, tmp_path: Path) -> None:
    tiny = {
        "encoder_block_out_channels": (16,) * 4,
        "decoder_block_out_channels": (16,) * 4,
        "num_encoder_blocks": (0, 1, 1, 2),
        "num_decoder_blocks": (2, 1, 1, 0),
    }
    small = folder("layouts-sd15-tiny", "sd15", **SD15 | {"vae": ("AutoencoderTiny", tiny)})
    file = written(tmp_path / "taesd.safetensors", tensors(small, "vae"))
    drawn = [pixels(open_family("sd15", sd15_folder, vae=vae), JOB) for vae in (file, small / "vae")]
    assert near(*drawn)
    assert drawn[0].float().std() > 5


@pytest.mark.parametrize(
    ("marks", "metadata", "said", "expected"),
    [
        ([], {}, None, ("epsilon", None)),
        (["v_pred"], {}, None, ("v_prediction", None)),
        (["v_pred", "ztsnr"], {}, None, ("v_prediction", True)),
        ([], {"modelspec.prediction_type": "v"}, None, ("v_prediction", None)),
        ([], {}, "v_prediction", ("v_prediction", None)),
        (["v_pred"], {}, "epsilon", ("epsilon", None)),
    ],
)
def test_what_a_file_predicts(
    tmp_path: Path, marks: list[str], metadata: dict[str, str], said: str | None, expected: tuple[str, bool | None]
) -> None:
    content = {name: torch.empty(0) for name in (*marks, "model.diffusion_model.input_blocks.0.0.weight")}
    file = written(tmp_path / "m.safetensors", content, **metadata)
    config = Checkpoint(WeightsSpec(file, prediction=said), "sd15").scheduler
    assert (config["prediction_type"], config.get("rescale_betas_zero_snr")) == expected
    whole = written(tmp_path / "xl.safetensors", content | {"model.diffusion_model.label_emb.0.0.bias": torch.empty(0)})
    if not metadata:
        config = Checkpoint(WeightsSpec(whole, prediction=said), "sdxl").scheduler
        assert (config["prediction_type"], config.get("rescale_betas_zero_snr")) == expected


def test_eight_bit_floats_are_widened_once(sd3_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MIN_CACHED", 0)  # else only weights that are too large for a test are kept
    plain = sd3_encoders(sd3_folder)["t5xxl"]
    narrow = {name: one.to(torch.float8_e4m3fn) if one.ndim > 1 else one.half() for name, one in plain.items()}
    scaled: dict[str, torch.Tensor] = {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}
    for name, tensor in plain.items():
        scale = tensor.abs().max() / 448
        scaled[name] = (tensor / scale).to(torch.float8_e4m3fn)
        scaled[f"{name.removesuffix('.weight')}.scale_weight"] = scale
    for file, content, near in (("t5xxl_fp8_e4m3fn", narrow, 0), ("t5xxl_fp8_e4m3fn_scaled", scaled, 0.07)):
        path = written(tmp_path / f"{file}.safetensors", content)
        component = component_of(Checkpoint(weights_of(sd3_folder, text_encoder_3=path), "sd3"), "text_encoder_3")
        stored = component.tensors()
        loaded = load(component, torch.bfloat16).state_dict()
        assert all(torch.equal(loaded[name], tensor.bfloat16()) for name, tensor in stored.items())
        assert any(component.identity in kept.name for kept in (tmp_path / ".tintype").iterdir())
        assert stored.keys() == plain.keys()
        for name, tensor in plain.items():
            expected = tensor if near else narrow[name].float()
            torch.testing.assert_close(stored[name].float(), expected, rtol=near, atol=near / 100)


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Lora:
    """A LoRA as kohya writes it, of the UNet by its original names and of the text encoder."""
    modules = {
        "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q": 32,
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj": 64,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        content = {f"{name}.lora_up.weight": torch.randn(width, 2) for name, width in modules.items()}
        content |= {f"{name}.lora_down.weight": torch.randn(2, width) for name, width in modules.items()}
    return Lora(written(tmp_path_factory.mktemp("style") / "style.safetensors", content))


def test_a_lora_reaches_the_networks_that_it_names_and_leaves_the_others_shared(sd15_folder: Path, style: Lora) -> None:
    plain, changed = (Checkpoint(WeightsSpec(sd15_folder, loras), "sd15") for loras in ((), (style,)))
    stronger = Checkpoint(WeightsSpec(sd15_folder, (Lora(style.path, 1.5),)), "sd15")
    for name, same in (("vae", True), ("unet", False), ("text_encoder", False)):
        assert (component_of(plain, name).identity == component_of(changed, name).identity) is same
        assert (component_of(stronger, name).identity == component_of(changed, name).identity) is same
    drawn = [
        pixels(open_family("sd15", sd15_folder, *loras), JOB) for loras in ((), (style,), (Lora(style.path, 0.0),))
    ]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_a_request_s_loras_are_merged_alike_but_not_kept(
    sd15_folder: Path, style: Lora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MIN_CACHED", 0)  # else only weights that are too large for a test are kept
    shutil.copytree(sd15_folder, tmp_path / "m")
    offered = WeightsSpec(tmp_path / "m", available_loras=(("ink", replace(style, scale=0.5)),))
    wished, lasting = offered.with_loras([("ink", 1.5)]), WeightsSpec(tmp_path / "m", (replace(style, scale=0.75),))
    assert offered.with_loras([]) == offered
    assert wished.fingerprint == lasting.fingerprint != offered.fingerprint
    stored = [
        load(component_of(Checkpoint(one, "sd15"), "unet"), torch.float32).state_dict() for one in (wished, lasting)
    ]
    assert same(*stored)
    assert not same(stored[0], load(component_of(Checkpoint(offered, "sd15"), "unet"), torch.float32).state_dict())
    [kept] = (tmp_path / "m" / "unet" / ".tintype").iterdir()
    assert component_of(Checkpoint(lasting, "sd15"), "unet").identity in kept.name
    with pytest.raises(InvalidParameter, match="loras: 'oil' was sent; allowed: ink"):
        offered.with_loras([("oil", 1.0)])


def test_requests_with_other_loras_share_no_forward_pass(sd15_folder: Path, style: Lora) -> None:
    offered = WeightsSpec(sd15_folder, available_loras=(("ink", style),))
    families = [
        load_family("sd15", offered.with_loras(wish), torch.device("cpu"), torch.float32, T5_TOKENS)
        for wish in ([], [("ink", 1.0)])
    ]
    alone = [pixels(family, JOB) for family in families]
    engine = Engine(16)
    with torch.inference_mode():
        pictures = [family.begin(JOB) for family in families]
        for picture in pictures:
            engine.add(picture)
        while engine.live:
            engine.step()
        together = [
            family.autoencoder.decode(whole(picture).latents)
            for family, picture in zip(families, pictures, strict=True)
        ]
    assert all(near(*pair) for pair in zip(alone, together, strict=True))
    assert not near(*together)


def test_identities_tell_the_networks_of_one_file_apart(sd3_folder: Path, tmp_path: Path) -> None:
    clip = tensors(sd3_folder, "text_encoder_2")
    content = sd3_originals(sd3_folder) | under("text_encoders.clip_g.transformer.", clip)
    content |= under("text_encoders.clip_l.transformer.", clip)
    file = written(tmp_path / "m.safetensors", content)
    first = Checkpoint(WeightsSpec(file), "sd3")
    names = ("transformer", "vae", "text_encoder", "text_encoder_2")
    identities = [component_of(first, name).identity for name in names]
    assert len(set(identities)) == 4
    copy = Checkpoint(WeightsSpec(Path(shutil.copy(file, tmp_path / "copy.safetensors"))), "sd3")
    assert [component_of(copy, name).identity for name in names] == identities


def test_variants_and_shards(sd15_folder: Path, tmp_path: Path) -> None:
    whole = tensors(sd15_folder, "unet")
    shutil.copytree(sd15_folder, tmp_path / "m")
    unet = tmp_path / "m" / "unet"
    half = {name: tensor.half() for name, tensor in whole.items()}
    parts = [dict(list(half.items())[start::2]) for start in (0, 1)]
    names = [f"diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, part in zip(names, parts, strict=True):
        written(unet / name, part)
    where = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    index = {"metadata": {}, "weight_map": where}
    (unet / "diffusion_pytorch_model.safetensors.index.fp16.json").write_text(json.dumps(index))
    component = component_of(Checkpoint(WeightsSpec(tmp_path / "m"), "sd15"), "unet")
    assert [file.name for file in component.files] == ["diffusion_pytorch_model.safetensors"], (
        "the full one comes first"
    )
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    stored = component_of(Checkpoint(WeightsSpec(tmp_path / "m"), "sd15"), "unet").tensors()
    assert all(torch.equal(stored[name], half[name]) for name in whole)
    (unet / names[1]).unlink()
    assert refusal("sd15", tmp_path / "m") == f"unet/{names[1]} can't be read: there is no such file"


def refusal(family: str, path: Path, **parts: Path) -> str:
    """In what words it is refused."""
    with pytest.raises(WeightsUnusable) as error:
        open_family(family, path, **parts)
    assert str(path.parent) not in error.value.message
    assert "\n" not in error.value.message
    return error.value.message


def test_pickles_are_refused_unread(sd15_folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, tmp_path / "zip.ckpt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Trap()))
    shutil.copy(tmp_path / "zip.ckpt", tmp_path / "renamed.safetensors")
    for name in ("zip.ckpt", "bare.pt", "renamed.safetensors"):
        assert refusal("sd15", tmp_path / name).startswith(f"{name} is a pickle, and loading one runs whatever code")
        assert refusal("sd15", sd15_folder, vae=tmp_path / name).startswith(f"{name} is a pickle")
    shutil.copytree(sd15_folder, tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "vae")
    shutil.copytree(sd15_folder / "vae", tmp_path / "m" / "vae", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copy(tmp_path / "zip.ckpt", tmp_path / "m" / "vae" / "diffusion_pytorch_model.bin")
    assert refusal("sd15", tmp_path / "m").startswith("vae: diffusion_pytorch_model.bin is a pickle")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("family", "tensor", "words"),
    [
        ("sd15", "conditioner.embedders.0.transformer.x", "Stable Diffusion XL, not a model of the family sd15"),
        ("sd15", "add_embedding.linear_1.weight", "Stable Diffusion XL, not a model of the family sd15"),
        ("sdxl", "model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion 1.5, not a model of the family"),
        ("sd15", "cond_stage_model.model.ln_final.weight", "Stable Diffusion 2,"),
        ("sd3", "double_blocks.0.img_attn.qkv.weight", "FLUX,"),
        ("sd15", "model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "FLUX,"),
        ("sd15", "control_model.zero_convs.0.0.weight", "a ControlNet,"),
        ("sd15", "lora_unet_down_blocks_0.lora_up.weight", "a LoRA, which goes on top"),
        ("sd15", "joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3, not a model of the family sd15"),
        ("sd3", "model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion 1.5, not a model of the family sd3"),
        ("sd3", "something.else", "something unknown, not a model of the family sd3"),
    ],
)
def test_other_models_are_named(tmp_path: Path, family: str, tensor: str, words: str) -> None:
    file = written(tmp_path / "m.safetensors", {tensor: torch.zeros(4, 4)})
    with pytest.raises(WeightsUnusable, match=words):
        component_of(Checkpoint(WeightsSpec(file), family), "vae")


def test_what_is_broken_or_missing_is_named(sd15_folder: Path, sd3_folder: Path, tmp_path: Path) -> None:
    whole = sd15_originals(sd15_folder)
    file = written(tmp_path / "m.safetensors", whole)
    assert refusal("sd15", file).startswith("component tokenizer is missing from m.safetensors: name a folder for")
    assert refusal("sd15", file, tokenizer_3=file).startswith(
        "components: tokenizer_3 was named; allowed are unet, vae,"
    )
    (tmp_path / "short.safetensors").write_bytes(file.read_bytes()[:-100])
    size = file.stat().st_size
    words = f"short.safetensors is cut short: it has {size - 100:,} of {size:,} bytes; fetch it again"
    assert refusal("sd15", tmp_path / "short.safetensors") == words
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(100))
    assert "is a GGUF file, which is not supported" in refusal("sd15", tmp_path / "m.gguf")
    for content in (b"", b"text", b"\x02" + bytes(7) + b"[]", b"\xff" * 20):
        (tmp_path / "odd.safetensors").write_bytes(content)
        assert "is not a whole safetensors file" in refusal("sd15", tmp_path / "odd.safetensors")
    lacking = {name: one for name, one in whole.items() if "out.2.weight" not in name and "conv_shortcut" not in name}
    written(tmp_path / "lacking.safetensors", lacking)
    assert refusal("sd15", tmp_path / "lacking.safetensors", tokenizers=sd15_folder) == (
        "lacking.safetensors is no whole unet: 'conv_out.weight' is not in it"
    )
    flat = whole | {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32)}
    written(tmp_path / "flat.safetensors", flat)
    assert refusal("sd15", tmp_path / "flat.safetensors") == (
        "flat.safetensors is no unet: its tensors have other shapes than any unet's"
    )
    inpainting = whole | {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}
    written(tmp_path / "inpainting.safetensors", inpainting)
    assert open_family("sd15", tmp_path / "inpainting.safetensors", tokenizers=sd15_folder).needs_mask
    relighting = whole | {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 12, 3, 3)}
    written(tmp_path / "relighting.safetensors", relighting)
    assert "takes 12 channels" in refusal("sd15", tmp_path / "relighting.safetensors", tokenizers=sd15_folder)
    alone = written(tmp_path / "alone.safetensors", original_mmdit(tensors(sd3_folder, "transformer")))
    words = "component vae is missing from alone.safetensors: name its own file or folder for vae"
    assert refusal("sd3", alone) == words
    assert "is no whole vae" in refusal("sd3", alone, vae=alone)
