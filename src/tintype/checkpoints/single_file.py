"""The original layout: one file that holds a model's networks, or its denoiser alone, and no configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tintype.checkpoints import configs
from tintype.checkpoints.component import Component
from tintype.checkpoints.files import NONSENSE, Tensors, outline_files, read_header, shown, widened
from tintype.checkpoints.keys import mmdit, unet, vae
from tintype.checkpoints.keys.versions import modern, unprojected
from tintype.errors import WeightsUnusable

#: Files are told apart by names of tensors, the first that matches: pattern, what it is, the family that takes it.
KINDS = [
    (re.compile(pattern), what, family)
    for pattern, what, family in (
        (r"\.?lora_(up|down|A|B|unet|te)|\.lora\.", "a LoRA, which goes on top of a model", None),
        (r"^conditioner\.embedders\.|\.label_emb\.|^add_embedding\.", "Stable Diffusion XL", None),
        (r"^cond_stage_model\.model\.", "Stable Diffusion 2", None),
        (r"(^|\.)(double_blocks|single_transformer_blocks)\.", "FLUX", None),
        (r"^(control_model|controlnet_cond_embedding)\.", "a ControlNet", None),
        (r"(^|\.)joint_blocks\.|^(model\.diffusion_model\.)?transformer_blocks\.", "Stable Diffusion 3", "sd3"),
        (r"(^|\.)input_blocks\.|^(model\.diffusion_model\.)?down_blocks\.", "Stable Diffusion 1.5", "sd15"),
    )
]
#: What the published repositories' scheduler_config.json say.
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
#: How v-prediction with a schedule that ends in pure noise is sampled (Lin et al. 2024, § 3).
ZERO_TERMINAL = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
#: What training and tools leave behind beside the networks, which nothing here needs: averages (EMA), tables of the
#: schedule, CLIP's temperature, the safety checker, the optimizer's state, marks. Any of it loads well.
LEFTOVERS = re.compile(
    r"(^|[._])ema(_model)?\.|^(model_|unet_|ema_)*ema_"
    r"|^(alphas|betas|sigmas|log_sigmas|log_one_minus_|logvar|lvlb_|posterior_|scale_factor|sqrt_)"
    r"|(^|\.)logit_scale$|^(safety_checker|feature_extractor|image_encoder|watermark\w*)\."
    r"|^(optimizers?|optimizer_states|lr_schedulers?|callbacks|global_step|epoch|loops|denoiser|loss)($|[._])"
    r"|^(v_pred|ztsnr|edm_\w+)"
)


class SingleFile:
    """A model's file; raises WeightsUnusable where it is another model's."""

    def __init__(self, path: Path, family: str) -> None:
        self.path = path
        self.family = family
        self.header = read_header(path)
        what, own = _kind(self.header.tensors)
        if own != family:
            raise WeightsUnusable(f"{shown(path)} is {what}, not a model of the family {family}")

    def component(self, name: str) -> Component | None:
        """A network by its name in the diffusers layout, or None where the file has none; raises WeightsUnusable."""
        return find_part(self.path, self.family, name, alone=False) if name in PARTS[self.family] else None

    @property
    def tokenizers(self) -> dict[str, Path]:
        """None: no such file holds any."""
        return {}

    def config(self, name: str) -> dict[str, Any]:
        """The scheduler's configuration, as the family's is published or as the file's own marks say."""
        own = self._prediction() if self.family == "sd15" else {}
        return {"scheduler": {**SCHEDULERS[self.family], **own}}[name]

    @property
    def strays(self) -> list[str]:
        """Tensors that are neither of a network nor what training is known to leave behind."""
        parts = PARTS[self.family].values()
        known = tuple(beginning for part in parts for beginning in (*part.prefixes, *part.bare))
        bare = any(name.startswith(part.bare) for part in parts if part.bare for name in self.header.tensors)
        names = [] if bare else self.header.tensors
        return [name for name in names if not name.startswith(known) and not LEFTOVERS.search(name)]

    def _prediction(self) -> dict[str, Any]:
        """Fine-tunes that predict v carry empty tensors `v_pred` and `ztsnr` as marks, or say it in the header."""
        marked = "v_pred" in self.header.tensors
        if not marked and self.header.metadata.get("modelspec.prediction_type") not in ("v", "v_prediction"):
            return {}
        return {"prediction_type": "v_prediction", **(ZERO_TERMINAL if "ztsnr" in self.header.tensors else {})}


def _kind(names: Collection[str]) -> tuple[str, str | None]:
    """What a file with these tensors is, and the family that takes it."""
    found = [(what, family) for pattern, what, family in KINDS if any(pattern.search(name) for name in names)]
    return found[0] if found else ("something unknown", None)


#: A class, and its tensors by its own names.
Read = tuple[str, Tensors]


@dataclass(frozen=True)
class Part:
    """One network of a family, in a file."""

    #: What its tensors' names may begin with, where a file holds other networks too.
    prefixes: tuple[str, ...]
    #: Tensors without that beginning → the class that they are of, and its names for them.
    read: Callable[[Tensors], Read]
    #: What its tensors' names begin with where nothing stands before them, if a whole checkpoint may be like that.
    bare: tuple[str, ...] = ()


def read_unet(tensors: Tensors) -> Read:
    """Original names, or diffusers'."""
    return "UNet2DConditionModel", tensors if "conv_in.weight" in tensors else unet.convert(tensors)


def read_mmdit(tensors: Tensors) -> Read:
    """Original names, or diffusers'."""
    return "SD3Transformer2DModel", tensors if "pos_embed.proj.weight" in tensors else mmdit.convert(tensors)


def read_vae(tensors: Tensors) -> Read:
    """Original names, or diffusers' for either class; without what its own training leaves behind."""
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(vae.LEFTOVERS)}
    if "decoder.layers.0.weight" in tensors:
        return "AutoencoderTiny", tensors
    original = "decoder.mid.block_1.norm1.weight" in tensors
    return "AutoencoderKL", vae.convert(tensors) if original else modern("AutoencoderKL", tensors)


def read_clip(tensors: Tensors) -> Read:
    """SD 1.5's encoder."""
    return "CLIPTextModel", modern("CLIPTextModel", tensors)


def read_clip_l(tensors: Tensors) -> Read:
    """SD 3's first encoder."""
    return "CLIPTextModelWithProjection", unprojected(modern("CLIPTextModelWithProjection", tensors))


def read_clip_g(tensors: Tensors) -> Read:
    """SD 3's second encoder."""
    return "CLIPTextModelWithProjection", modern("CLIPTextModelWithProjection", tensors)


def read_t5(tensors: Tensors) -> Read:
    """SD 3's third encoder."""
    return "T5EncoderModel", modern("T5EncoderModel", tensors)


AUTOENCODER = Part((vae.PREFIX, "vae."), read_vae)
#: Family → component → how files hold it.
PARTS = {
    "sd15": {
        "unet": Part((unet.PREFIX,), read_unet, ("input_blocks.", "down_blocks.")),
        "vae": AUTOENCODER,
        "text_encoder": Part(("cond_stage_model.transformer.",), read_clip),
    },
    "sd3": {
        "transformer": Part((mmdit.PREFIX,), read_mmdit, ("joint_blocks.", "transformer_blocks.")),
        "vae": AUTOENCODER,
        "text_encoder": Part(("text_encoders.clip_l.transformer.",), read_clip_l),
        "text_encoder_2": Part(("text_encoders.clip_g.transformer.",), read_clip_g),
        "text_encoder_3": Part(("text_encoders.t5xxl.transformer.",), read_t5),
    },
}
#: What a model can do without.
OPTIONAL = ("text_encoder_3",)


def find_part(path: Path, family: str, name: str, *, alone: bool) -> Component | None:
    """A component in a file of any layout, or None where the file has none of it; raises WeightsUnusable.

    `alone`: the file was named for this component, so that its tensors' names need not say whose they are.
    """
    part = PARTS[family][name]
    prefix = _prefix(part, read_header(path).tensors, alone)
    if prefix is None:
        return None
    try:
        class_name, outline = part.read(widened(outline_files([path], prefix)))
        config = configuration(name, class_name, outline)
    except KeyError as error:
        raise WeightsUnusable(f"{shown(path)} is no whole {name}: {error} is not in it") from error
    except NONSENSE as error:
        raise WeightsUnusable(f"{shown(path)} is no {name}: its tensors have other shapes than any {name}'s") from error
    return Component(name, class_name, config, [path], rename=partial(_renamed, part.read), prefix=prefix)


def configuration(name: str, class_name: str, tensors: Tensors) -> dict[str, Any]:
    """What `config.json` would say of these tensors; raises KeyError that names one which would have to be there."""
    match class_name:
        case "UNet2DConditionModel":
            return configs.unet(tensors)
        case "SD3Transformer2DModel":
            return configs.mmdit(tensors)
        case "AutoencoderTiny":
            return configs.tiny_autoencoder(tensors)
        case "AutoencoderKL":
            return configs.autoencoder(tensors)
        case "T5EncoderModel":
            return configs.t5(tensors)
        case _:
            # SD 3's second CLIP is OpenCLIP's, the others are OpenAI's.
            return configs.clip(tensors, "gelu" if name == "text_encoder_2" else "quick_gelu")


def _prefix(part: Part, names: Collection[str], alone: bool) -> str | None:
    for prefix in part.prefixes:
        if any(name.startswith(prefix) for name in names):
            return prefix
    return "" if alone or (part.bare and any(name.startswith(part.bare) for name in names)) else None


def _renamed(read: Callable[[Tensors], Read], tensors: Tensors) -> Tensors:
    return read(widened(tensors))[1]
