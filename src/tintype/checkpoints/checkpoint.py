"""A model's checkpoint, whatever its layout: its own files, parts that come from elsewhere, and LoRAs on top."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors, shown, widened
from tintype.checkpoints.keys.lora import role
from tintype.checkpoints.keys.versions import modern
from tintype.checkpoints.lora import Meant, concerning, meant
from tintype.checkpoints.scheduler import trained_with
from tintype.checkpoints.single_file import OPTIONAL, PARTS, SingleFile, find_part
from tintype.checkpoints.weights import Weights, read_json
from tintype.errors import WeightsUnusable

#: Beside components' names: the folder that holds `tokenizer`, `tokenizer_2` and `tokenizer_3`.
TOKENIZERS = "tokenizers"


class Layout(Protocol):
    """What a folder and a file both are."""

    def component(self, name: str) -> Component | None:
        """A network, or None where there is none."""

    @property
    def tokenizers(self) -> dict[str, Path]:
        """The tokenizers' folders."""

    def config(self, name: str) -> dict[str, Any]:
        """The configuration of what has no tensors."""

    @property
    def strays(self) -> list[str]:
        """Tensors that are of no network, by the names that its own files have for them."""


class Checkpoint:
    """Where each of a model's components is, by the names of the diffusers layout."""

    def __init__(self, weights: Weights, family: str) -> None:
        self.weights = weights
        self.family = family
        self._parts = dict(weights.parts)
        #: What was looked for: each look reads the headers of files anew.
        self._found: dict[str, Component | None] = {}
        names = (*PARTS[family], *self.tokenizers, TOKENIZERS, "scheduler")
        if unknown := self._parts.keys() - set(names):
            allowed = ", ".join(names)
            raise WeightsUnusable(f"parts: {', '.join(sorted(unknown))} was named; allowed are {allowed}")

    @property
    def tokenizers(self) -> list[str]:
        """The names of the tokenizers that a model of this family may have: one for every text encoder."""
        return [name.replace("text_encoder", "tokenizer") for name in PARTS[self.family] if "text_encoder" in name]

    @cached_property
    def layout(self) -> Layout:
        """How the checkpoint itself is laid out; raises WeightsUnusable."""
        path = self.weights.path
        return SingleFile(path, self.family) if path.is_file() else Folder(path)

    def component(self, name: str) -> Component | None:
        """A network with its LoRAs, or None where there is none or it was left out; raises WeightsUnusable."""
        found = self._plain(name)
        return found and found.adapted(concerning(self._added, name))

    @property
    def ignored(self) -> list[str]:
        """What the weights hold that changes nothing here, in words; raises WeightsUnusable."""
        parts = [(shown(lora.path), name) for lora, named in self._added for name in sorted(named - self._roles)]
        return [f"{file}: what it changes of {name} has no effect, since that is left out" for file, name in parts]

    @cached_property
    def _added(self) -> Meant:
        """LoRAs; raises WeightsUnusable where one is for what no such model has, or has not here.

        One that changes other components too may name T5, which can be left out; `ignored` says so.
        """
        added = meant(self.weights.loras)
        for lora, named in added:
            others = named - self._roles
            if others - set(OPTIONAL) or not named & self._roles:
                words = f"changes {', '.join(sorted(others))}, which this model of the family {self.family} hasn't"
                raise WeightsUnusable(f"{shown(lora.path)} {words}: it is for another kind of model")
        return added

    @cached_property
    def _roles(self) -> set[str]:
        """What LoRAs may change here, as they call it."""
        return {role(name) for name in PARTS[self.family] if name not in OPTIONAL or self._plain(name)}

    def _plain(self, name: str) -> Component | None:
        if name == "text_encoder_3" and self.weights.t5 == "none":
            return None
        if name not in self._found:
            self._found[name] = self._part(name) if name in self._parts else self.layout.component(name)
        return self._found[name]

    def tokenizer(self, name: str) -> Path | None:
        """A tokenizer's folder, or None where its encoder is missing or left out; raises WeightsUnusable."""
        if name == "tokenizer_3" and self.component("text_encoder_3") is None:
            return None
        shared = {name: self._parts[TOKENIZERS] / name} if TOKENIZERS in self._parts else {}
        found = {**self.layout.tokenizers, **shared, **self._parts}.get(name)
        if found is None or not found.is_dir():
            raise WeightsUnusable(self.absent(name))
        return found

    @property
    def scheduler(self) -> dict[str, Any]:
        """What the scheduler's configuration says of the weights; raises WeightsUnusable."""
        said = self.weights.prediction
        own = self._parts.get("scheduler")
        config = read_json(own / "scheduler_config.json") if own else self.layout.config("scheduler")
        return trained_with(config | ({"prediction_type": said} if said else {}), self.family)

    def absent(self, name: str) -> str:
        """What to say where a component is missing that the family can't do without."""
        ways = f"name its own file or folder for {name}"
        if "tokenizer" in name:
            ways = f"name a folder for {name}, or for {TOKENIZERS} one in which the folder {name} is"
        return f"component {name} is missing from {self.weights.path.name}: {ways}"

    def _part(self, name: str) -> Component | None:
        path = self._parts[name]
        return component_folder(path, name) if path.is_dir() else find_part(path, self.family, name, alone=True)


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
