"""Stable Diffusion 3 and 3.5: a multimodal transformer with two CLIP text encoders, and T5, which can be left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from tintype.families import fit
from tintype.families.networks.autoencoder import TINY, kl
from tintype.families.networks.mmdit import MMDIT, PREFIX
from tintype.families.networks.text import (
    CLIP_TOKENIZER,
    T5_ENCODER,
    T5_TOKENIZER,
    clip,
    with_identity_projection,
)
from tintype.families.spec import (
    BuiltinWeights,
    ComponentSpec,
    Config,
    FamilySpec,
    Misfit,
    Tensors,
    TokenizerSpec,
    TrainingSpec,
)
from tintype.families.training import flow_training
from tintype.samplers import SAMPLERS

OPENAI_CLIP = clip("CLIPTextModelWithProjection", "quick_gelu")


def _unprojected(tensors: Tensors) -> Tensors:
    return with_identity_projection(OPENAI_CLIP.convert(tensors))


DENOISER = ComponentSpec(
    name="transformer", networks=(MMDIT,), prefixes=(PREFIX,), bare=("joint_blocks.", "transformer_blocks.")
)
AUTOENCODER = ComponentSpec(
    name="vae",
    # Scale and shift: Stability's SD3LatentFormat.
    networks=(kl(scaling_factor=1.5305, shift_factor=0.0609), TINY),
    prefixes=("first_stage_model.", "vae."),
)
CLIP_L = ComponentSpec(
    name="text_encoder",
    networks=(replace(OPENAI_CLIP, convert=_unprojected),),
    prefixes=("text_encoders.clip_l.transformer.",),
    tokenizer=TokenizerSpec(name="tokenizer", path=CLIP_TOKENIZER),
)
CLIP_G = ComponentSpec(
    name="text_encoder_2",
    networks=(clip("CLIPTextModelWithProjection", "gelu"),),
    prefixes=("text_encoders.clip_g.transformer.",),
    tokenizer=TokenizerSpec(name="tokenizer_2", path=CLIP_TOKENIZER),
)
T5 = ComponentSpec(
    name="text_encoder_3",
    networks=(T5_ENCODER,),
    prefixes=("text_encoders.t5xxl.transformer.",),
    tokenizer=TokenizerSpec(name="tokenizer_3", path=T5_TOKENIZER),
    optional=True,
    placed_by_t5=True,
)


def misfits(own: Mapping[str, Config]) -> Iterator[Misfit]:
    transformer, vae = own[DENOISER.name], own[AUTOENCODER.name]
    yield from fit.autoencoder(AUTOENCODER.name, vae)
    yield from fit.denoiser(DENOISER.name, transformer, AUTOENCODER.name, vae)
    count = partial(fit.count, DENOISER.name, transformer)
    yield from fit.sides(AUTOENCODER.name, vae, count("patch_size"))
    inner = count("num_attention_heads") * count("attention_head_dim")
    if count("caption_projection_dim") != inner:
        yield DENOISER.name, f"caption_projection_dim is {count('caption_projection_dim')}, its blocks are {inner} wide"
    clips = {one.name: own[one.name] for one in (CLIP_L, CLIP_G)}
    pooled = [fit.count(name, clip, "projection_dim") for name, clip in clips.items()]
    if sum(pooled) != count("pooled_projection_dim"):
        takes = f"its pooled text (pooled_projection_dim) is {count('pooled_projection_dim')} wide"
        yield DENOISER.name, f"{takes}, and what {' and '.join(clips)} give (projection_dim) is {fit.added(pooled)}"
    widths = [fit.count(name, clip, "hidden_size") for name, clip in clips.items()]
    joint = f"its text (joint_attention_dim) is {count('joint_attention_dim')} wide"
    if sum(widths) > count("joint_attention_dim"):
        yield DENOISER.name, f"{joint}, and what {' and '.join(clips)} give (hidden_size) is {fit.added(widths)}"
    yield from fit.lengths(CLIP_L.name, CLIP_G.name, own)
    if (t5 := own.get(T5.name)) and fit.count(T5.name, t5, "d_model") != count("joint_attention_dim"):
        yield DENOISER.name, f"{joint}, and what {T5.name} gives (d_model) is {t5['d_model']}"


SD3 = FamilySpec(
    name="sd3",
    title="Stable Diffusion 3",
    detect=re.compile(r"(^|\.)joint_blocks\.|^(model\.diffusion_model\.)?transformer_blocks\."),
    pipelines=re.compile(r"StableDiffusion3\w*Pipeline"),
    denoiser=DENOISER,
    autoencoder=AUTOENCODER,
    text_encoders=(CLIP_L, CLIP_G, T5),
    training=TrainingSpec(
        published={"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
        trained=flow_training,
    ),
    misfits=misfits,
    samplers=SAMPLERS,
    capabilities=frozenset({"text", "image"}),
    builtin=BuiltinWeights(folder="sd3", few_steps="turbo/pytorch_lora_weights.safetensors"),
    runs="tintype.diffusion.sd3.SD3",
)
