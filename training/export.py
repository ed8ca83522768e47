"""The trained parts → the folders that ship in the wheel, in the ordinary diffusers layout and bfloat16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from training import sd3, text, unet
from training.hyper import SHIPPED, SIZE, Transformer, Turbo, UNet
from training.latents import Data
from training.sources import work
from training.world import World

LORA = "pytorch_lora_weights.safetensors"


def write() -> None:
    """Write all of it, in place of what is there."""
    _family("sd3", _sd3_pipeline(), {"native_size": SIZE, "t5_tokens": Transformer.zeros[0]})
    _family("sd15", _sd15_pipeline(), {"native_size": SIZE, "guidance_share": UNet.guidance_share})
    turbo = SHIPPED / "turbo"
    turbo.mkdir(parents=True, exist_ok=True)
    save_file(shortened(load_file(work("turbo", LORA)), Turbo.shipped_rank), turbo / LORA, metadata={"format": "pt"})
    words = [{"name": concept.name, "emoji": concept.emoji} for concept in World().concepts]
    _write_json(SHIPPED / "vocabulary.json", words)
    work("exported").touch()


def shortened(lora: dict[str, torch.Tensor], rank: int) -> dict[str, torch.Tensor]:
    """A LoRA's best approximation of a lower rank, in bfloat16: each product's main singular vectors."""
    short = {}
    for name, value in lora.items():
        if ".lora_A." not in name:
            continue
        other = name.replace(".lora_A.", ".lora_B.")
        left, right = torch.linalg.qr(lora[other]), torch.linalg.qr(value.T)
        u, sizes, v = torch.linalg.svd(left.R @ right.R.T)
        short[other] = (left.Q @ u[:, :rank] * sizes[:rank]).bfloat16().contiguous()
        short[name] = (right.Q @ v[:rank].T).T.bfloat16().contiguous()
    return short


def _sd3_pipeline() -> Any:
    data = Data("sd3")
    return sd3.pipeline(SD3Transformer2DModel.from_pretrained(work(sd3.LONG)), data.scale, data.shift, text.WIDE)


def _sd15_pipeline() -> Any:
    return unet.pipeline(UNet2DConditionModel.from_pretrained(work(unet.LONG)), Data("sd15").scale, text.WIDE)


def _family(name: str, pipeline: Any, about: dict[str, float]) -> None:
    folder = SHIPPED / name
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.to(torch.bfloat16).save_pretrained(folder)
    _write_json(folder / "tintype.json", about)


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
