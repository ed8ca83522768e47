"""A component: one network of a model, as it lies on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tintype.checkpoints.weights import Lora, hash_file
from tintype.errors import WeightsUnusable

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


class Component:
    """One network: the class that runs it, its configuration, and where its numbers are."""

    def __init__(
        self,
        name: str,
        class_name: str,
        config: Mapping[str, Any],
        files: Sequence[Path],
        *,
        rename: Callable[[Tensors], Tensors] = lambda tensors: tensors,
        loras: tuple[Lora, ...] = (),
    ) -> None:
        self.name = name
        self.class_name = class_name
        #: As in `config.json`.
        self.config = config
        #: Files that hold its tensors, and perhaps those of others.
        self.files = tuple(files)
        self.loras = loras
        self._rename = rename

    def stored(self) -> Tensors:
        """Its tensors, mapped from the files and not read before they are used, without its LoRAs.

        Names are those of the class's `state_dict`. Raises WeightsUnusable.
        """
        return self._rename(map_files(self.files))

    @cached_property
    def identity(self) -> str:
        """A short name: components with the same one run the same class on the same numbers, wherever they lie."""
        hashed = hashlib.blake2b(digest_size=16)
        own = {key: value for key, value in self.config.items() if not key.startswith("_")}
        hashed.update(json.dumps([self.class_name, own], sort_keys=True).encode())
        for file in self.files:
            hash_file(hashed, file)
        for lora in self.loras:
            hashed.update(f"{lora.scale} ".encode())
            hash_file(hashed, lora.path)
        return hashed.hexdigest()


def map_files(files: Sequence[Path]) -> Tensors:
    """The tensors of safetensors files, by name, mapped into memory; raises WeightsUnusable that names the file."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - imports torch

    tensors: Tensors = {}
    with ExitStack() as opened:
        for file in files:
            try:
                content = opened.enter_context(safe_open(file, framework="pt"))
                tensors |= {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no mapping
            except (OSError, SafetensorError) as error:
                raise WeightsUnusable(f"{file.parent.name}/{file.name} can't be read: {_why(error)}") from error
    return tensors


def _why(error: Exception) -> str:
    """What is wrong with a file, without the folders that lead to it."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return "it is not a whole safetensors file"
