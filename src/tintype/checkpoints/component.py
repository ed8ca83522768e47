"""A component: one network of a model, as it lies on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from tintype.checkpoints.files import Tensors, map_files, outline_files, read_header
from tintype.checkpoints.weights import Lora, hash_file


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
        prefix: str = "",
        loras: tuple[Lora, ...] = (),
    ) -> None:
        self.name = name
        self.class_name = class_name
        #: As in `config.json`.
        self.config = config
        #: Files that hold its tensors, and perhaps those of others.
        self.files = tuple(files)
        #: What the names of its own begin with, where there are others'.
        self.prefix = prefix
        self.loras = loras
        self._rename = rename

    def adapted(self, loras: tuple[Lora, ...]) -> Component:
        """The same with LoRAs to be added."""
        return Component(
            self.name, self.class_name, self.config, self.files, rename=self._rename, prefix=self.prefix, loras=loras
        )

    def stored(self) -> Tensors:
        """Its tensors, mapped from the files and not read before they are used, without its LoRAs.

        Names are those of the class's `state_dict`. Raises WeightsUnusable.
        """
        return self._rename(map_files(self.files, self.prefix))

    def outline(self) -> Tensors:
        """On the meta device, out of the files' headers alone: names, shapes, formats; raises WeightsUnusable."""
        return self._rename(outline_files(self.files, self.prefix))

    @cached_property
    def numbers(self) -> int:
        """How many numbers its files hold, told by their headers alone; raises WeightsUnusable."""
        tensors = (item for file in self.files for item in read_header(file).tensors.items())
        return sum(prod(shape) for name, (_, shape) in tensors if name.startswith(self.prefix))

    @property
    def narrow(self) -> bool:
        """Whether some of it is stored in eight bits, and takes work to be had in more; raises WeightsUnusable."""
        return any(tensor.dtype.itemsize == 1 for tensor in outline_files(self.files, self.prefix).values())

    @cached_property
    def identity(self) -> str:
        """A short name: components with the same one run the same class on the same numbers, wherever they lie."""
        hashed = hashlib.blake2b(digest_size=16)
        own = {key: value for key, value in self.config.items() if not key.startswith("_")}
        hashed.update(json.dumps([self.class_name, own, self.prefix], sort_keys=True).encode())
        for file in self.files:
            hash_file(hashed, file)
        for lora in self.loras:
            hashed.update(f"{lora.scale} ".encode())
            hash_file(hashed, lora.path)
        return hashed.hexdigest()
