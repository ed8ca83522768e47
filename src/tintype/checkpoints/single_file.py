"""The original layout: one file with a model's networks, or its denoiser alone, and without configurations."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tintype.checkpoints.component import Component
from tintype.checkpoints.configs import config_of
from tintype.checkpoints.files import MALFORMED, Tensors, dequantize, display_name, meta_tensors, read_header
from tintype.checkpoints.keys import mmdit, unet, vae
from tintype.checkpoints.keys.versions import current_names, with_identity_projection
from tintype.errors import WeightsUnusable

#: Files are told apart by names of tensors; the first match counts: pattern, kind of model, family that loads it.
KINDS = [
    (re.compile(pattern), kind, family)
    for pattern, kind, family in (
        (r"\.?lora_(up|down|A|B|unet|te)|\.lora\.", "a LoRA, which goes on top of a model", None),
        (r"^conditioner\.embedders\.|\.label_emb\.|^add_embedding\.", "Stable Diffusion XL", None),
        (r"^cond_stage_model\.model\.", "Stable Diffusion 2", None),
        (r"(^|\.)(double_blocks|single_transformer_blocks)\.", "FLUX", None),
        (r"^(control_model|controlnet_cond_embedding)\.", "a ControlNet", None),
        (r"(^|\.)joint_blocks\.|^(model\.diffusion_model\.)?transformer_blocks\.", "Stable Diffusion 3", "sd3"),
        (r"(^|\.)input_blocks\.|^(model\.diffusion_model\.)?down_blocks\.", "Stable Diffusion 1.5", "sd15"),
    )
]
#: scheduler_config.json of the published repositories.
SCHEDULERS: dict[str, dict[str, Any]] = {
    "sd15": {
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
    },
    "sd3": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
}
#: Sampling for v-prediction with a schedule that ends in pure noise (Lin et al. 2024, § 3).
ZERO_TERMINAL = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
#: Harmless leftovers of training and tools: averages (EMA), tables of the schedule, CLIP's temperature, the safety
#: checker, the optimizer's state, marks.
LEFTOVERS = re.compile(
    r"(^|[._])ema(_model)?\.|^(model_|unet_|ema_)*ema_"
    r"|^(alphas|betas|sigmas|log_sigmas|log_one_minus_|logvar|lvlb_|posterior_|scale_factor|sqrt_)"
    r"|(^|\.)logit_scale$|^(safety_checker|feature_extractor|image_encoder|watermark\w*)\."
    r"|^(optimizers?|optimizer_states|lr_schedulers?|callbacks|global_step|epoch|loops|denoiser|loss)($|[._])"
    r"|^(v_pred|ztsnr|edm_\w+)"
)


class SingleFile:
    """A model's file; raises WeightsUnusable where it is another kind of model's."""

    def __init__(self, path: Path, family: str) -> None:
        self.path = path
        self.family = family
        self.header = read_header(path)
        kind, own = _kind(self.header.tensors)
        if own != family:
            raise WeightsUnusable(f"{display_name(path)} is {kind}, not a model of the family {family}")

    def component(self, name: str) -> Component | None:
        """A network by its name in the diffusers layout, or None where the file has none; raises WeightsUnusable."""
        return find_component(self.path, self.family, name, alone=False) if name in COMPONENTS[self.family] else None

    @property
    def tokenizers(self) -> dict[str, Path]:
        """None: no such file holds any."""
        return {}

    def config(self, name: str) -> dict[str, Any]:
        """The scheduler's configuration: the published one of the family, with the prediction that the file names."""
        own = self._prediction() if self.family == "sd15" else {}
        return {"scheduler": {**SCHEDULERS[self.family], **own}}[name]

    @property
    def unexpected_keys(self) -> list[str]:
        """Tensors that belong to no network and are no known leftovers of training."""
        components = COMPONENTS[self.family].values()
        known = tuple(prefix for keys in components for prefix in (*keys.prefixes, *keys.bare))
        bare = any(name.startswith(keys.bare) for keys in components if keys.bare for name in self.header.tensors)
        names = [] if bare else self.header.tensors
        return [name for name in names if not name.startswith(known) and not LEFTOVERS.search(name)]

    def _prediction(self) -> dict[str, Any]:
        """Fine-tunes that predict v have empty tensors `v_pred` and `ztsnr` as marks, or say it in the header."""
        marked = "v_pred" in self.header.tensors
        if not marked and self.header.metadata.get("modelspec.prediction_type") not in ("v", "v_prediction"):
            return {}
        return {"prediction_type": "v_prediction", **(ZERO_TERMINAL if "ztsnr" in self.header.tensors else {})}


def _kind(names: Collection[str]) -> tuple[str, str | None]:
    """The kind of a file with these tensors, and the family that loads it."""
    found = [(kind, family) for pattern, kind, family in KINDS if any(pattern.search(name) for name in names)]
    return found[0] if found else ("something unknown", None)


#: A class, and its tensors by its own names.
ClassTensors = tuple[str, Tensors]


@dataclass(frozen=True)
class ComponentKeys:
    """How files name the tensors of one component."""

    #: Possible prefixes in a file that holds other components too.
    prefixes: tuple[str, ...]
    #: Tensors without the prefix → their class, and its names for them.
    convert: Callable[[Tensors], ClassTensors]
    #: First words of names without a prefix, if a whole checkpoint may be like that.
    bare: tuple[str, ...] = ()


def convert_unet(tensors: Tensors) -> ClassTensors:
    """Original names, or diffusers'."""
    return "UNet2DConditionModel", tensors if "conv_in.weight" in tensors else unet.convert(tensors)


def convert_mmdit(tensors: Tensors) -> ClassTensors:
    """Original names, or diffusers'."""
    return "SD3Transformer2DModel", tensors if "pos_embed.proj.weight" in tensors else mmdit.convert(tensors)


def convert_vae(tensors: Tensors) -> ClassTensors:
    """Original names, or diffusers' for either class; without the leftovers of its own training."""
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(vae.LEFTOVERS)}
    if "decoder.layers.0.weight" in tensors:
        return "AutoencoderTiny", tensors
    original = "decoder.mid.block_1.norm1.weight" in tensors
    return "AutoencoderKL", vae.convert(tensors) if original else current_names("AutoencoderKL", tensors)


def convert_encoder(class_name: str, tensors: Tensors) -> ClassTensors:
    return class_name, current_names(class_name, tensors)


def convert_clip_l(tensors: Tensors) -> ClassTensors:
    """SD 3's first text encoder."""
    class_name, named = convert_encoder("CLIPTextModelWithProjection", tensors)
    return class_name, with_identity_projection(named)


AUTOENCODER = ComponentKeys((vae.PREFIX, "vae."), convert_vae)
#: Family → component → how files name its tensors.
COMPONENTS = {
    "sd15": {
        "unet": ComponentKeys((unet.PREFIX,), convert_unet, ("input_blocks.", "down_blocks.")),
        "vae": AUTOENCODER,
        "text_encoder": ComponentKeys(("cond_stage_model.transformer.",), partial(convert_encoder, "CLIPTextModel")),
    },
    "sd3": {
        "transformer": ComponentKeys((mmdit.PREFIX,), convert_mmdit, ("joint_blocks.", "transformer_blocks.")),
        "vae": AUTOENCODER,
        "text_encoder": ComponentKeys(("text_encoders.clip_l.transformer.",), convert_clip_l),
        "text_encoder_2": ComponentKeys(
            ("text_encoders.clip_g.transformer.",), partial(convert_encoder, "CLIPTextModelWithProjection")
        ),
        "text_encoder_3": ComponentKeys(
            ("text_encoders.t5xxl.transformer.",), partial(convert_encoder, "T5EncoderModel")
        ),
    },
}
#: Components that a model can do without.
OPTIONAL = ("text_encoder_3",)


def find_component(path: Path, family: str, name: str, *, alone: bool) -> Component | None:
    """A component in a file of any layout, or None where the file has none of it; raises WeightsUnusable.

    `alone`: the file was named for this component, so that its tensors' names need no prefix.
    """
    keys = COMPONENTS[family][name]
    prefix = _prefix(keys, read_header(path).tensors, alone)
    if prefix is None:
        return None
    try:
        class_name, tensors = keys.convert(dequantize(meta_tensors([path], prefix)))
        config = config_of(name, class_name, tensors)
    except KeyError as error:
        raise WeightsUnusable(f"{display_name(path)} is no whole {name}: {error} is not in it") from error
    except MALFORMED as error:
        shapes = f"its tensors have other shapes than any {name}'s"
        raise WeightsUnusable(f"{display_name(path)} is no {name}: {shapes}") from error
    return Component(name, class_name, config, [path], rename=partial(_renamed, keys.convert), prefix=prefix)


def _prefix(keys: ComponentKeys, names: Collection[str], alone: bool) -> str | None:
    for prefix in keys.prefixes:
        if any(name.startswith(prefix) for name in names):
            return prefix
    return "" if alone or (keys.bare and any(name.startswith(keys.bare) for name in names)) else None


def _renamed(convert: Callable[[Tensors], ClassTensors], tensors: Tensors) -> Tensors:
    return convert(dequantize(tensors))[1]
