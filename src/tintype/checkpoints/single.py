"""The original layout: one file that holds a model's networks, or its denoiser alone, and no configuration."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import read_header, shown
from tintype.checkpoints.parts import PARTS, find_part
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
