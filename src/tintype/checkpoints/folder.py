"""The diffusers layout: a folder with `model_index.json` and one sub-folder per component."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors
from tintype.checkpoints.float8 import widened
from tintype.checkpoints.names import modern
from tintype.checkpoints.weights import read_json
from tintype.errors import WeightsUnusable

#: What the tensors' file is called, by library; with a variant, `.fp16` stands before the ending.
FILES = ("diffusion_pytorch_model", "model")
VARIANTS = ("", ".fp16", ".bf16")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Folder:
    """A model's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = read_json(path / "model_index.json")

    def component(self, name: str) -> Component | None:
        """A network by its name in the index, or None where the index has none; raises WeightsUnusable."""
        class_name = self._class(name)
        return component_folder(self.path / name, name, class_name) if class_name else None

    @property
    def tokenizers(self) -> dict[str, Path]:
        """The tokenizers' folders by their names in the index."""
        return {name: self.path / name for name in self.index if name.startswith("tokenizer") and self._class(name)}

    def config(self, name: str) -> dict[str, Any]:
        """The JSON configuration of a component that has no weights, as the scheduler's; raises WeightsUnusable."""
        return read_json(self.path / name / f"{name}_config.json")

    @property
    def strays(self) -> list[str]:
        """None: a component's folder holds nobody else's tensors."""
        return []

    def _class(self, name: str) -> str | None:
        match self.index.get(name):
            case None | [_, None]:
                return None
            case [_, str(class_name)]:
                return class_name
        raise WeightsUnusable(f"model_index.json: {name} is not understood; allowed are a library and a class")


def component_folder(folder: Path, name: str, class_name: str | None = None) -> Component:
    """A component's own folder: `config.json`, which may say the class too, and its tensors; raises WeightsUnusable."""
    config = read_json(folder / "config.json")
    class_name = class_name or _class_in(config)
    if class_name is None:
        raise WeightsUnusable(f"{folder.name}/config.json doesn't say of which class {name} is")
    return Component(name, class_name, config, tensor_files(folder), rename=partial(_renamed, class_name))


def _class_in(config: Mapping[str, Any]) -> str | None:
    match config:
        case {"_class_name": str(class_name)} | {"architectures": [str(class_name), *_]}:
            return class_name
    return None


def _renamed(class_name: str, tensors: Tensors) -> Tensors:
    return modern(class_name, widened(tensors))


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files of a component's folder, whole before variants, single before sharded."""
    for variant in VARIANTS:
        for stem in FILES:
            single = folder / f"{stem}{variant}.safetensors"
            if single.is_file():
                return [single]
            if shards := _shards(folder, stem, variant):
                return shards
    pickles = [file.name for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    if pickles:
        raise WeightsUnusable(
            f"{folder.name}: {pickles[0]} is a pickle, and loading one runs whatever code somebody put into it: "
            f"fetch or make {FILES[0]}.safetensors instead"
        )
    raise WeightsUnusable(f"{folder.name}: there is no file of weights in it, such as {FILES[0]}.safetensors")


def _shards(folder: Path, stem: str, variant: str) -> list[Path]:
    """The files that an index names; diffusers and transformers put the variant at different places."""
    for name in (f"{stem}.safetensors.index{variant}.json", f"{stem}{variant}.safetensors.index.json"):
        if (folder / name).is_file():
            return [folder / Path(file).name for file in _named(folder / name)]
    return []


def _named(index: Path) -> list[str]:
    """The files that an index says tensors to be in; raises WeightsUnusable."""
    match read_json(index):
        case {"weight_map": dict(places)} if all(type(file) is str and Path(file).name for file in places.values()):
            return sorted(set(places.values()))
    raise WeightsUnusable(f"{index.parent.name}/{index.name} doesn't say in which files the tensors are")
