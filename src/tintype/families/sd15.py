"""Stable Diffusion 1.5: a UNet with one text encoder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tintype.families import fit
from tintype.families.networks.autoencoder import TINY, kl
from tintype.families.networks.text import CLIP_TOKENIZER, clip
from tintype.families.networks.unet import PREFIX, UNET
from tintype.families.spec import (
    BuiltinWeights,
    ComponentSpec,
    Config,
    FamilySpec,
    Misfit,
    TokenizerSpec,
    TrainingSpec,
)
from tintype.families.training import noise_training, prediction_marks
from tintype.samplers import SCHEDULERS

#: Input channels → the kinds of checkpoints whose input is more than noisy latents.
EXTRA_CHANNELS = {
    8: ", as instruct-pix2pix checkpoints do, which are not supported",
    12: ", as relighting checkpoints do, which are not supported",
}
#: Inputs of a UNet in addition to latents, time and text: configuration → the values without any.
NO_EXTRA_INPUTS: Mapping[str, tuple[str | None, ...]] = {
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None, "text"),
    "encoder_hid_dim_type": (None, "text_proj"),
}
#: scheduler_config.json of the published repository.
PUBLISHED = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
    "prediction_type": "epsilon",
}

DENOISER = ComponentSpec(name="unet", networks=(UNET,), prefixes=(PREFIX,), bare=("input_blocks.", "down_blocks."))
AUTOENCODER = ComponentSpec(
    name="vae",
    # Scale: CompVis' v1-inference.yaml.
    networks=(kl(scaling_factor=0.18215), TINY),
    prefixes=("first_stage_model.", "vae."),
)
TEXT_ENCODER = ComponentSpec(
    name="text_encoder",
    networks=(clip("CLIPTextModel", "quick_gelu"),),
    prefixes=("cond_stage_model.transformer.",),
    tokenizer=TokenizerSpec(name="tokenizer", path=CLIP_TOKENIZER),
)


def needs_mask(own: Mapping[str, Config]) -> bool:
    """Whether the UNet takes next to the latents those of the image's kept part, and the mask."""
    return bool(own[DENOISER.name]["in_channels"] == _with_mask(own[AUTOENCODER.name]))


def _with_mask(vae: Config) -> int:
    """Input channels of such a UNet: latents, mask, latents."""
    return 2 * int(vae["latent_channels"]) + 1


def misfits(own: Mapping[str, Config]) -> Iterator[Misfit]:
    unet, vae = own[DENOISER.name], own[AUTOENCODER.name]
    yield from fit.autoencoder(AUTOENCODER.name, vae)
    masked = [_with_mask(vae)]
    yield from fit.denoiser(DENOISER.name, unet, AUTOENCODER.name, vae, EXTRA_CHANNELS, masked)
    yield from fit.sides(AUTOENCODER.name, vae, 1)
    key = "encoder_hid_dim" if unet["encoder_hid_dim_type"] == "text_proj" else "cross_attention_dim"
    yield from fit.text(DENOISER.name, key, unet, {TEXT_ENCODER.name: own[TEXT_ENCODER.name]})
    yield from fit.unet(DENOISER.name, unet, NO_EXTRA_INPUTS, "more than latents, time and text")


SD15 = FamilySpec(
    name="sd15",
    title="Stable Diffusion 1.5",
    detect=re.compile(r"(^|\.)input_blocks\.|^(model\.diffusion_model\.)?down_blocks\."),
    pipelines=re.compile(r"StableDiffusion(?!3|XL)\w*Pipeline"),
    denoiser=DENOISER,
    autoencoder=AUTOENCODER,
    text_encoders=(TEXT_ENCODER,),
    training=TrainingSpec(published=PUBLISHED, trained=noise_training, marked=prediction_marks),
    misfits=misfits,
    needs_mask=needs_mask,
    samplers=SCHEDULERS,
    capabilities=frozenset({"text", "image", "mask"}),
    builtin=BuiltinWeights(folder="sd15"),
    runs="tintype.diffusion.unet.sd15",
)
