"""Takes the shipped weights back into the work folder, so that training goes on from them."""

from __future__ import annotations

import shutil

from diffusers import AutoencoderTiny, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection

from training.hyper import SHIPPED
from training.sources import work
from training.text import NAMES, WIDE

#: Step's folder → the shipped one that it became.
PARTS = {
    **{
        step: (CLIPTextModelWithProjection, f"sd3/{name}")
        for steps in (NAMES, WIDE)
        for step, name in zip(steps, NAMES, strict=True)
    },
    **{
        f"{step}-{family}": (AutoencoderTiny, f"{family}/vae")
        for step in ("vae", "decoder")
        for family in ("sd3", "sd15")
    },
    "sd3": (SD3Transformer2DModel, "sd3/transformer"),
    "sd15": (UNet2DConditionModel, "sd15/unet"),
}


def fill() -> None:
    """Write every shipped part that the work folder lacks into it, in float32."""
    for name, (kind, shipped) in PARTS.items():
        if not work(name).exists():
            kind.from_pretrained(SHIPPED / shipped).float().save_pretrained(work(name))
    shutil.copytree(SHIPPED / "sd3/tokenizer", work("tokenizer"), dirs_exist_ok=True)
