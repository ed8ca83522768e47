"""A model's checkpoint in any layout: its own files, components from elsewhere, and LoRAs on top."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors, dequantize, display_name
from tintype.checkpoints.lora import LoraTargets, lora_targets, loras_for
from tintype.checkpoints.lora_names import target_name
from tintype.checkpoints.single_file import SingleFile, find_component
from tintype.checkpoints.weights import WeightsSpec, read_json
from tintype.errors import WeightsUnusable
from tintype.families import FAMILIES
from tintype.families.spec import TOKENIZERS, ComponentSpec, Config, FamilySpec, Network

#: The component without tensors, and its file.
SCHEDULER, SCHEDULER_FILE = "scheduler", "scheduler_config.json"
#: Stems of the tensors' file, diffusers' first; a variant such as `.fp16` follows the stem.
STEMS = ("diffusion_pytorch_model", "model")
VARIANTS = ("", ".fp16", ".bf16")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Layout(Protocol):
    """What a folder and a single file have in common."""

    def component(self, spec: ComponentSpec) -> Component | None:
        """A network, or None where there is none."""

    @property
    def tokenizers(self) -> dict[str, Path]:
        """The tokenizers' folders by name."""

    @property
    def scheduler(self) -> Config:
        """The scheduler's configuration."""

    @property
    def pipeline(self) -> Config:
        """The pipeline's configuration; empty where there is none."""

    @property
    def unexpected_keys(self) -> list[str]:
        """Tensors that belong to no network, by their names in the file."""


class Checkpoint:
    """Where each of a model's components is, by the names of the diffusers layout."""

    def __init__(self, weights: WeightsSpec, family: str) -> None:
        self.weights = weights
        self.family = FAMILIES[family]
        self._paths = dict(weights.components)
        #: By name: finding one reads files' headers.
        self._found: dict[str, Component | None] = {}
        names = (*(one.name for one in self.family.components), *self.family.tokenizers, TOKENIZERS, SCHEDULER)
        if unknown := self._paths.keys() - set(names):
            allowed = ", ".join(names)
            raise WeightsUnusable(f"components: {', '.join(sorted(unknown))} was named; allowed are {allowed}")

    @cached_property
    def layout(self) -> Layout:
        """The layout of the checkpoint itself; raises WeightsUnusable."""
        path = self.weights.path
        return SingleFile(path, self.family) if path.is_file() else Folder(path, self.family)

    def component(self, spec: ComponentSpec) -> Component | None:
        """A network with its LoRAs, or None where it is missing or left out; raises WeightsUnusable."""
        found = self._without_loras(spec)
        return found and found.with_loras(loras_for(self._lora_targets, spec.name))

    @property
    def ignored(self) -> list[str]:
        """One sentence for each component left out that a LoRA changes; raises WeightsUnusable."""
        return [
            f"{display_name(lora.path)}: what it changes of {name} has no effect, since that is left out"
            for lora, names in self._lora_targets
            for name in sorted(names - self._targets)
        ]

    @cached_property
    def _lora_targets(self) -> LoraTargets:
        """LoRAs; raises WeightsUnusable where one changes a component that no such model has, or this one hasn't.

        One that changes other components too may name T5, which can be left out; `ignored` tells it.
        """
        found = lora_targets(self.weights.loras)
        optional = {one.name for one in self.family.components if one.optional}
        for lora, names in found:
            others = names - self._targets
            if others - optional or not names & self._targets:
                changes = (
                    f"changes {', '.join(sorted(others))}, which this model of the family {self.family.name} hasn't"
                )
                raise WeightsUnusable(f"{display_name(lora.path)} {changes}: it is for another kind of model")
        return found

    @cached_property
    def _targets(self) -> set[str]:
        """The components that LoRAs may change here, by LoRAs' names."""
        components = self.family.components
        return {target_name(one.name) for one in components if not one.optional or self._without_loras(one)}

    def _without_loras(self, spec: ComponentSpec) -> Component | None:
        if spec.placed_by_t5 and self.weights.t5 == "none":
            return None
        name = spec.name
        if name not in self._found:
            self._found[name] = self._from_elsewhere(spec) if name in self._paths else self.layout.component(spec)
        return self._found[name]

    def _from_elsewhere(self, spec: ComponentSpec) -> Component | None:
        path = self._paths[spec.name]
        return component_folder(path, spec) if path.is_dir() else find_component(path, spec, alone=True)

    def tokenizer(self, encoder: ComponentSpec) -> Path | None:
        """The folder of a text encoder's tokenizer, or None where that is left out; raises WeightsUnusable."""
        if encoder.tokenizer is None or (encoder.optional and self.component(encoder) is None):
            return None
        name = encoder.tokenizer.name
        shared = {name: self._paths[TOKENIZERS] / name} if TOKENIZERS in self._paths else {}
        found = {**self.layout.tokenizers, **shared, **self._paths}.get(name)
        if found is None or not found.is_dir():
            raise WeightsUnusable(self.missing_message(name))
        return found

    @property
    def scheduler(self) -> dict[str, Any]:
        """The part of the scheduler's configuration that belongs to the weights; raises WeightsUnusable."""
        prediction = self.weights.prediction
        folder = self._paths.get(SCHEDULER)
        config = read_json(folder / SCHEDULER_FILE) if folder else self.layout.scheduler
        return self.family.training.trained({**config, **({"prediction_type": prediction} if prediction else {})})

    def switch(self, name: str, *, default: bool) -> bool:
        """A setting of the pipeline's that is true or false; raises WeightsUnusable."""
        value = self.layout.pipeline.get(name, default)
        if not isinstance(value, bool):
            raise WeightsUnusable(f"model_index.json: {name} is {str(value)[:40]}; allowed: true or false")
        return value

    def missing_message(self, name: str) -> str:
        """The error's text where a required component is missing."""
        ways = f"name its own file or folder for {name}"
        if name in self.family.tokenizers:
            ways = f"name a folder for {name}, or for {TOKENIZERS} one in which the folder {name} is"
        return f"component {name} is missing from {self.weights.path.name}: {ways}"


class Folder:
    """The diffusers layout: a folder with `model_index.json` and one sub-folder per component."""

    def __init__(self, path: Path, family: FamilySpec) -> None:
        """Raises WeightsUnusable where it is another family's."""
        self.path = path
        self.family = family
        self.index = read_json(path / "model_index.json")
        pipeline = str(self.index.get("_class_name"))
        own = [one for one in FAMILIES.values() if one.pipelines.fullmatch(pipeline)]
        if own and family not in own:  # an unknown pipeline may have the family's components
            raise WeightsUnusable(
                f"{path.name} is {own[0].title} ({pipeline}), not a model of the family {family.name}"
            )

    def component(self, spec: ComponentSpec) -> Component | None:
        """A network by its name in the index, or None where the index has none; raises WeightsUnusable."""
        class_name = None if spec.separate else self._class(spec.name)
        return component_folder(self.path / spec.name, spec, class_name) if class_name else None

    @property
    def tokenizers(self) -> dict[str, Path]:
        """The tokenizers' folders by their names in the index."""
        return {name: self.path / name for name in self.family.tokenizers if self._class(name)}

    @property
    def scheduler(self) -> Config:
        """Raises WeightsUnusable where there is none."""
        return read_json(self.path / SCHEDULER / SCHEDULER_FILE)

    @property
    def pipeline(self) -> Config:
        return self.index

    @property
    def unexpected_keys(self) -> list[str]:
        """None: a component's folder holds its own tensors only."""
        return []

    def _class(self, name: str) -> str | None:
        match self.index.get(name):
            case None | [_, None]:
                return None
            case [_, str(class_name)]:
                return class_name
        raise WeightsUnusable(f"model_index.json: {name} is not a pair of a library and a class")


def component_folder(folder: Path, spec: ComponentSpec, class_name: str | None = None) -> Component:
    """A component's own folder: `config.json`, which may name the class, and its tensors; raises WeightsUnusable."""
    config = read_json(folder / "config.json")
    class_name = class_name or _class_in(config)
    if class_name is None:
        raise WeightsUnusable(f"{folder.name}/config.json doesn't name the class of {spec.name}")
    return Component(spec, class_name, config, tensor_files(folder), rename=partial(_updated, spec.network(class_name)))


def _class_in(config: Mapping[str, Any]) -> str | None:
    match config:
        case {"_class_name": str(class_name)} | {"architectures": [str(class_name), *_]}:
            return class_name
    return None


def _updated(network: Network | None, tensors: Tensors) -> Tensors:
    """Of a class that the component can't have, as they are: who opens it is told."""
    found = dequantize(tensors)
    return network.update(found) if network else found


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files of a component's folder: full precision before variants, one file before shards."""
    for variant in VARIANTS:
        for stem in STEMS:
            single = folder / f"{stem}{variant}.safetensors"
            if single.is_file():
                return [single]
            if shards := _shards(folder, stem, variant):
                return shards
    pickles = [file.name for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    if pickles:
        raise WeightsUnusable(
            f"{folder.name}: {pickles[0]} is a pickle, and loading one runs whatever code is in it: "
            f"fetch or make {STEMS[0]}.safetensors instead"
        )
    raise WeightsUnusable(f"{folder.name}: there is no file of weights in it, such as {STEMS[0]}.safetensors")


def _shards(folder: Path, stem: str, variant: str) -> list[Path]:
    """The files named in an index; diffusers and transformers put the variant in different places."""
    for name in (f"{stem}.safetensors.index{variant}.json", f"{stem}{variant}.safetensors.index.json"):
        if (folder / name).is_file():
            return [folder / Path(file).name for file in _index_files(folder / name)]
    return []


def _index_files(index: Path) -> list[str]:
    match read_json(index):
        case {"weight_map": dict(files)} if all(type(file) is str and Path(file).name for file in files.values()):
            return sorted(set(files.values()))
    raise WeightsUnusable(f"{index.parent.name}/{index.name} doesn't name the tensors' files in weight_map")
