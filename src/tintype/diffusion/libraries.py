"""The classes of diffusers and transformers that we use, imported without what the two import along with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from tintype.errors import WeightsUnusable

#: The classes that a folder may name, and where each lives: a name that isn't here is never imported.
CLASSES = {
    "AutoencoderKL": "diffusers.models.autoencoders.autoencoder_kl.AutoencoderKL",
    "AutoencoderTiny": "diffusers.models.autoencoders.autoencoder_tiny.AutoencoderTiny",
    "UNet2DConditionModel": "diffusers.models.unets.unet_2d_condition.UNet2DConditionModel",
    "SD3Transformer2DModel": "diffusers.models.transformers.transformer_sd3.SD3Transformer2DModel",
    "CLIPTextModel": "transformers.models.clip.modeling_clip.CLIPTextModel",
    "CLIPTextModelWithProjection": "transformers.models.clip.modeling_clip.CLIPTextModelWithProjection",
    "CLIPTokenizer": "transformers.models.clip.tokenization_clip.CLIPTokenizer",
    "CLIPTokenizerFast": "transformers.models.clip.tokenization_clip.CLIPTokenizer",
    "T5EncoderModel": "transformers.models.t5.modeling_t5.T5EncoderModel",
    "T5Tokenizer": "transformers.models.t5.tokenization_t5.T5Tokenizer",
    "T5TokenizerFast": "transformers.models.t5.tokenization_t5.T5Tokenizer",
}
#: Optional packages that the libraries import at once where they find them, for features that we don't use: together
#: they cost as much as everything else. Both libraries do without when they are not there.
SPARED = ("peft", "scipy", "sklearn", "accelerate", "torchao", "bitsandbytes", "onnxruntime")
#: Packages whose front door imports, or reads the files of, every model that there is, in place of the wanted one.
FRONT_DOORS = (
    "diffusers.models.transformers",
    "diffusers.models.unets",
    "diffusers.models.autoencoders",
    "diffusers.hooks",
    "transformers.models",
)


def find_class(name: str) -> Any:
    """The class of a component; raises WeightsUnusable for one that isn't supported."""
    if name not in CLASSES:
        raise WeightsUnusable(f"{name} is not supported; known are {', '.join(CLASSES)}")
    module, _, attribute = CLASSES[name].rpartition(".")
    return getattr(import_spared(module), attribute)


def import_spared(module: str) -> ModuleType:
    """Import a module of one of the libraries without the SPARED, unless they are there already."""
    if module in sys.modules:
        return sys.modules[module]
    with hidden(SPARED), without_compiler(), on_one_machine(), without_inventory(), past(FRONT_DOORS):
        return import_module(module)


@contextmanager
def hidden(names: tuple[str, ...]) -> Iterator[None]:
    """While the block lasts, packages that aren't imported yet seem not to be installed."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # by import's rules: not to be had
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@contextmanager
def without_compiler() -> Iterator[None]:
    """While the block lasts, torch's compiler is a stand-in: the libraries import it only to mark functions for it.

    Those marks are lost. They are on offloading, caching and special kernels, none of which we use.
    """
    name = "torch._dynamo"
    if name in sys.modules:
        yield
        return
    stand_in: Any = _doorless(name)
    stand_in.allow_in_graph = stand_in.assume_constant_result = lambda marked: marked
    stand_in.disable = lambda marked=None, *_args, **_options: marked or (lambda function: function)
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def on_one_machine() -> Iterator[None]:
    """While the block lasts, torch has no `torch.distributed`, of which transformers would import half."""
    distributed: Any = import_module("torch.distributed")
    before = distributed.is_available
    distributed.is_available = lambda: False
    try:
        yield
    finally:
        distributed.is_available = before


@contextmanager
def without_inventory() -> Iterator[None]:
    """While the block lasts, nobody lists what every installed package brings.

    diffusers reads the list, file by file, for packages that are installed under another name; we use none of them.
    """
    real = metadata.packages_distributions
    metadata.packages_distributions = dict
    try:
        yield
    finally:
        metadata.packages_distributions = real


@contextmanager
def past(names: tuple[str, ...]) -> Iterator[None]:
    """While the block lasts, sub-modules of these packages can be imported without running the packages themselves."""
    import_module("diffusers")
    closed = [name for name in names if name not in sys.modules]
    for name in closed:
        sys.modules[name] = _doorless(name)
    try:
        yield
    finally:
        for name in closed:
            # Whoever imports the package by its front door later gets the whole of it, with the same sub-modules.
            sys.modules.pop(name, None)


def _doorless(name: str) -> ModuleType:
    """An empty package in whose folder sub-modules are found."""
    parent, _, own = name.rpartition(".")
    package = ModuleType(name)
    spec = find_spec(parent)
    package.__path__ = [f"{folder}/{own}" for folder in (spec and spec.submodule_search_locations) or ()]
    return package


def quiet_libraries() -> None:
    """Keep diffusers' and transformers' advice and progress bars out of our logs; their errors still raise."""
    for library in ("diffusers", "transformers"):
        logging = import_spared(f"{library}.utils.logging")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
