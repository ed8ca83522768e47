"""The diffusers layout: a folder with `model_index.json` and one sub-folder per component."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tintype.checkpoints.component import Component
from tintype.checkpoints.names import modern
from tintype.checkpoints.weights import Weights, read_json
from tintype.errors import WeightsUnusable

#: What the tensors' file is called, by library; with a variant, `.fp16` stands before the ending.
FILES = ("diffusion_pytorch_model", "model")
VARIANTS = ("", ".fp16", ".bf16")
#: The components that a LoRA may change.
DENOISERS = ("transformer", "unet")


class Folder:
    """A model's folder."""

    def __init__(self, weights: Weights) -> None:
        self.path = weights.path
        self.weights = weights
        self.index = read_json(self.path / "model_index.json")

    def component(self, name: str) -> Component | None:
        """A network by its name in the index, or None where the index has none; raises WeightsUnusable."""
        class_name = self._class(name)
        if class_name is None:
            return None
        folder = self.path / name
        return Component(
            name,
            class_name,
            read_json(folder / "config.json"),
            tensor_files(folder),
            rename=partial(modern, class_name),
            loras=self.weights.loras if name in DENOISERS else (),
        )

    def tokenizer(self, name: str) -> Path | None:
        """The folder of a tokenizer, or None where the index has none."""
        return self.path / name if self._class(name) else None

    def config(self, name: str) -> dict[str, Any]:
        """The JSON configuration of a component that has no weights, as the scheduler's; raises WeightsUnusable."""
        own = read_json(self.path / name / f"{name}_config.json")
        return own | ({"prediction_type": self.weights.prediction} if self.weights.prediction else {})

    def _class(self, name: str) -> str | None:
        entry = self.index.get(name) or [None, None]
        if name == "text_encoder_3" and self.weights.t5 == "none":
            return None
        return str(entry[1]) if entry[1] else None


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files of a component's folder, whole before variants, single before sharded."""
    for variant in VARIANTS:
        for stem in FILES:
            single = folder / f"{stem}{variant}.safetensors"
            if single.is_file():
                return [single]
            if shards := _shards(folder, stem, variant):
                return shards
    raise WeightsUnusable(f"{folder.name}: there is no file of weights in it, such as {FILES[0]}.safetensors")


def _shards(folder: Path, stem: str, variant: str) -> list[Path]:
    """The files that an index names; diffusers and transformers put the variant at different places."""
    for name in (f"{stem}.safetensors.index{variant}.json", f"{stem}{variant}.safetensors.index.json"):
        if (folder / name).is_file():
            named = read_json(folder / name).get("weight_map", {}).values()
            return [folder / Path(file).name for file in sorted(set(named))]
    return []
