"""A component: one network of a model, on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from tintype.checkpoints.files import Tensors, map_tensors, meta_tensors, read_header
from tintype.checkpoints.weights import Lora, hash_file
from tintype.families.spec import ComponentSpec


class Component:
    """One network: its class, its configuration, and the files that hold its tensors."""

    def __init__(
        self,
        spec: ComponentSpec,
        class_name: str,
        config: Mapping[str, Any],
        files: Sequence[Path],
        *,
        rename: Callable[[Tensors], Tensors] = lambda tensors: tensors,
        prefix: str = "",
        loras: tuple[Lora, ...] = (),
    ) -> None:
        self.spec = spec
        #: As in the diffusers layout.
        self.name = spec.name
        self.class_name = class_name
        #: As in `config.json`.
        self.config = config
        #: They may hold other components' tensors too.
        self.files = tuple(files)
        #: Of its own tensors' names, where a file holds other components.
        self.prefix = prefix
        self.loras = loras
        self._rename = rename

    def with_loras(self, loras: tuple[Lora, ...]) -> Component:
        """The same component with these LoRAs to merge."""
        return Component(
            self.spec, self.class_name, self.config, self.files, rename=self._rename, prefix=self.prefix, loras=loras
        )

    def tensors(self) -> Tensors:
        """Its memory-mapped tensors without LoRAs, by the names of the class's `state_dict`; raises WeightsUnusable."""
        return self._rename(map_tensors(self.files, self.prefix))

    def meta_tensors(self) -> Tensors:
        """On the meta device, from the files' headers alone: names, shapes, dtypes; raises WeightsUnusable."""
        return self._rename(meta_tensors(self.files, self.prefix))

    @cached_property
    def parameter_count(self) -> int:
        """How many numbers its files hold, from their headers alone; raises WeightsUnusable."""
        tensors = (item for file in self.files for item in read_header(file).tensors.items())
        return sum(prod(shape) for name, (_, shape) in tensors if name.startswith(self.prefix))

    @property
    def is_float8(self) -> bool:
        """Whether some of it is stored in eight bits, and must be dequantized; raises WeightsUnusable."""
        return any(tensor.dtype.itemsize == 1 for tensor in meta_tensors(self.files, self.prefix).values())

    @cached_property
    def identity(self) -> str:
        """A short name: components with the same one have the same class and the same numbers, in any file."""
        digest = hashlib.blake2b(digest_size=16)
        config = {key: value for key, value in self.config.items() if not key.startswith("_")}
        digest.update(json.dumps([self.class_name, config, self.prefix], sort_keys=True).encode())
        for file in self.files:
            hash_file(digest, file)
        for lora in self.loras:
            digest.update(f"{lora.scale} ".encode())
            hash_file(digest, lora.path)
        return digest.hexdigest()
