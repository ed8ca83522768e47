"""Stable Diffusion XL: a UNet with two text encoders, which is told the image's size; and its refiner."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tintype.families import fit, sd15
from tintype.families.networks.autoencoder import TINY, kl
from tintype.families.networks.text import CLIP_TOKENIZER, OPEN_CLIP_TEXT
from tintype.families.networks.unet import SDXL_UNET
from tintype.families.spec import ComponentSpec, Config, FamilySpec, Misfit, TokenizerSpec, TrainingSpec
from tintype.families.training import noise_training, prediction_marks
from tintype.samplers import SCHEDULERS

EXTRA_CHANNELS = {**sd15.EXTRA_CHANNELS, 9: ", as inpainting checkpoints do, which are not supported"}
#: Of a UNet's inputs: configuration → the values of SDXL's.
INPUTS: Mapping[str, tuple[str | None, ...]] = {
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": ("text_time",),
    "encoder_hid_dim_type": (None,),
    "time_cond_proj_dim": (None,),
}
#: Numbers that the UNet is told of an image: its height and width, those of a crop's corner, and of the result.
SIZES = 6
REFINER_NAME = "sdxl-refiner"
#: The refiner is told how beautiful it is to be, instead of the result's size.
REFINER_SIZES = 5
#: scheduler_config.json of the published repository.
PUBLISHED = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "clip_sample": False,
    "prediction_type": "epsilon",
}

DENOISER = replace(sd15.DENOISER, networks=(SDXL_UNET,))
# Scale: Stability's sd_xl_base.yaml.
AUTOENCODER = replace(sd15.AUTOENCODER, networks=(kl(scaling_factor=0.13025), TINY))
CLIP_L = replace(sd15.TEXT_ENCODER, prefixes=("conditioner.embedders.0.transformer.",))
CLIP_G = ComponentSpec(
    name="text_encoder_2",
    networks=(OPEN_CLIP_TEXT,),
    prefixes=("conditioner.embedders.1.model.",),
    tokenizer=TokenizerSpec(name="tokenizer_2", path=CLIP_TOKENIZER),
)


#: The refiner's only one.
REFINER_CLIP = replace(CLIP_G, prefixes=("conditioner.embedders.0.model.",))


def misfits(own: Mapping[str, Config]) -> Iterator[Misfit]:
    yield from _misfits(own, (CLIP_L, CLIP_G), SIZES)
    yield from fit.lengths(CLIP_L.name, CLIP_G.name, own)


def refiner_misfits(own: Mapping[str, Config]) -> Iterator[Misfit]:
    yield from _misfits(own, (REFINER_CLIP,), REFINER_SIZES)


def _misfits(own: Mapping[str, Config], encoders: Sequence[ComponentSpec], sizes: int) -> Iterator[Misfit]:
    unet, vae = own[DENOISER.name], own[AUTOENCODER.name]
    clips = {one.name: own[one.name] for one in encoders}
    yield from fit.autoencoder(AUTOENCODER.name, vae)
    yield from fit.denoiser(DENOISER.name, unet, AUTOENCODER.name, vae, EXTRA_CHANNELS)
    yield from fit.sides(AUTOENCODER.name, vae, 1)
    yield from fit.text(DENOISER.name, "cross_attention_dim", unet, clips)
    yield from fit.unet(DENOISER.name, unet, INPUTS, "something else than latents, time, text and sizes")
    if unet["addition_embed_type"] == "text_time":
        yield from _added(unet, clips[CLIP_G.name], sizes)


def _added(unet: Config, clip_g: Config, sizes: int) -> Iterator[Misfit]:
    """What is added to the time's embedding: the pooled text, and the sizes."""
    key = "projection_class_embeddings_input_dim"
    pooled = fit.count(CLIP_G.name, clip_g, "projection_dim")
    told = sizes * fit.count(DENOISER.name, unet, "addition_time_embed_dim")
    if fit.count(DENOISER.name, unet, key) != pooled + told:
        gives = f"what {CLIP_G.name} gives (projection_dim) and {sizes} sizes are {fit.added([pooled, told])}"
        yield DENOISER.name, f"its pooled text and sizes ({key}) are {unet[key]} wide, and {gives}"


SDXL = FamilySpec(
    name="sdxl",
    title="Stable Diffusion XL",
    detect=re.compile(r"^conditioner\.embedders\.|(^|\.)label_emb\.|(^|\.)add_embedding\."),
    pipelines=re.compile(r"StableDiffusionXL\w*Pipeline"),
    denoiser=DENOISER,
    autoencoder=AUTOENCODER,
    text_encoders=(CLIP_L, CLIP_G),
    training=TrainingSpec(published=PUBLISHED, trained=noise_training, marked=prediction_marks),
    misfits=misfits,
    samplers=SCHEDULERS,
    capabilities=frozenset({"text", "image"}),
    refiner=REFINER_NAME,
    runs="tintype.diffusion.sdxl.sdxl",
)
REFINER = replace(
    SDXL,
    name=REFINER_NAME,
    title="Stable Diffusion XL's refiner",
    detect=re.compile(r"^conditioner\.embedders\.0\.model\."),
    pipelines=re.compile(r"StableDiffusionXLImg2ImgPipeline"),
    text_encoders=(REFINER_CLIP,),
    misfits=refiner_misfits,
    capabilities=frozenset(),
    refiner="",
    runs="tintype.diffusion.sdxl.sdxl_refiner",
)
