"""What a family's descriptor says: everything that differs between families, but for the code that denoises.

Nothing here imports torch, nor what it is made of: web processes read descriptors too. Tensors are torch's, on any
device; the functions use their methods and shapes alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tintype.samplers import SamplerSpec

#: By name: torch's tensors, or those of the meta device.
Tensors = dict[str, Any]
#: The content of a component's `config.json`.
Config = Mapping[str, Any]
#: A component's name, and why it doesn't fit the others.
Misfit = tuple[str, str]
#: What a family can start from: a text alone, an init image, an init image with a mask.
Capability = Literal["text", "image", "mask"]

#: Next to the components' names: the folder that holds `tokenizer`, `tokenizer_2` and `tokenizer_3`.
TOKENIZERS = "tokenizers"


def unchanged(tensors: Tensors) -> Tensors:
    return tensors


def no_modules(_names: Collection[str]) -> list[str]:
    return []


def class_name(path: str) -> str:
    """Of a class's import path."""
    return path.rpartition(".")[2]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A class of diffusers or transformers: how files of any layout name its tensors, and tell its sizes."""

    #: The class's import path.
    path: str
    #: Tensors of a file of any layout, without their prefix → the names of the class's `state_dict`. KeyError names a
    #: required tensor.
    convert: Callable[[Tensors], Tensors]
    #: Tensors of a folder in the diffusers layout, which other versions may have written → the same.
    update: Callable[[Tensors], Tensors] = unchanged
    #: Tensors by the class's names → the content of `config.json`: sizes from shapes, the rest as published. KeyError
    #: names a required tensor.
    config: Callable[[Tensors], Config]
    #: A tensor that only this one of a component's networks has.
    mark: str = ""
    #: For LoRAs that name modules of the original layout: all that a network with these names (the class's) may have
    #: there, and some of its tensors converted.
    original_modules: Callable[[Collection[str]], list[str]] = no_modules
    convert_some: Callable[[Tensors, Collection[str]], Tensors] = lambda tensors, _names: tensors

    @property
    def class_name(self) -> str:
        return class_name(self.path)


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """The tokenizer of a text encoder."""

    #: As in the diffusers layout.
    name: str
    #: The class's import path.
    path: str


@dataclass(frozen=True, kw_only=True)
class ComponentSpec:
    """A component: a network that a family has, and how it is found."""

    #: As in the diffusers layout.
    name: str
    #: The classes that it may have; outputs of the libraries' others have other shapes.
    networks: tuple[Network, ...]
    #: Possible prefixes of its tensors in a file that holds other components too.
    prefixes: tuple[str, ...] = ()
    #: First words of its tensors' names without a prefix, if a whole checkpoint may be like that.
    bare: tuple[str, ...] = ()
    #: Of a text encoder.
    tokenizer: TokenizerSpec | None = None
    #: Whether a model can do without it.
    optional: bool = False
    #: Whether the setting `t5` tells where it runs, or that it is left out.
    placed_by_t5: bool = False
    #: Whether it is only ever in a file or folder of its own, never among the other components.
    separate: bool = False

    def network(self, class_name: str) -> Network | None:
        """The one of this class, or None where it can't have it."""
        return next((one for one in self.networks if one.class_name == class_name), None)

    def network_of(self, tensors: Collection[str]) -> Network:
        """The one that these tensors of a file are of."""
        return next((one for one in self.networks if one.mark and one.mark in tensors), self.networks[0])

    def prefix(self, names: Collection[str], *, alone: bool) -> str | None:
        """The prefix of its tensors in a file; None where the file has none of it. `alone`: the file is for it."""
        if self.separate and not alone:
            return None
        for prefix in self.prefixes:
            if any(name.startswith(prefix) for name in names):
                return prefix
        return "" if alone or (self.bare and any(name.startswith(self.bare) for name in names)) else None


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """What weights of a family say of their training."""

    #: `scheduler_config.json` of the published repositories, for files that have none.
    published: Config
    #: Any scheduler's configuration → what of it belongs to the weights. Raises WeightsUnusable for values that no
    #: weights of the family have.
    trained: Callable[[Config], dict[str, Any]]
    #: A file's tensors and its free text by key → what its marks say, on top of `published`.
    marked: Callable[[Collection[str], Mapping[str, str]], dict[str, Any]] = lambda _names, _metadata: {}


@dataclass(frozen=True, kw_only=True)
class BuiltinWeights:
    """The weights that tintype ships for a family, below its folder `weights/`."""

    folder: str
    #: A LoRA that draws in four steps without guidance, if there is one.
    few_steps: str = ""


@dataclass(frozen=True, kw_only=True)
class FamilySpec:
    """A family: models of one architecture, which run through the same code."""

    name: str
    #: As files of it are called in messages.
    title: str
    #: A file is of this family where the name of one of its tensors matches, and no family before it has matched.
    detect: re.Pattern[str]
    #: A folder is of this family where `_class_name` of its `model_index.json`, a pipeline's class, matches.
    pipelines: re.Pattern[str]
    #: What every step runs.
    denoiser: ComponentSpec
    autoencoder: ComponentSpec
    #: In the order in which the models file lists them.
    text_encoders: tuple[ComponentSpec, ...]
    #: Further components.
    extras: tuple[ComponentSpec, ...] = ()
    training: TrainingSpec
    #: Whole configurations of the components by name, optional ones perhaps missing → those that don't fit the others.
    #: Raises WeightsUnusable for an invalid value.
    misfits: Callable[[Mapping[str, Config]], Iterator[Misfit]]
    #: Whether weights with these configurations draw with a mask only, since their denoiser's input has one in it.
    needs_mask: Callable[[Mapping[str, Config]], bool] = lambda _: False
    #: The rows of the table of samplers that its models take.
    samplers: Mapping[str, SamplerSpec]
    capabilities: frozenset[Capability]
    #: The family that can draw the last steps of its images, by name; empty where there is none.
    refiner: str = ""
    #: None: there are none, and its models need the operator's.
    builtin: BuiltinWeights | None = None
    #: The import path of what runs it, below `tintype.diffusion`: a class or function that is called with `Components`.
    runs: str

    @property
    def components(self) -> tuple[ComponentSpec, ...]:
        """All of them."""
        return self.denoiser, self.autoencoder, *self.text_encoders, *self.extras

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """By name: one for each text encoder."""
        return tuple(one.tokenizer.name for one in self.text_encoders if one.tokenizer)
