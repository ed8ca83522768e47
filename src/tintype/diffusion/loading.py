"""Components out of a folder in the diffusers layout, by the classes that its `model_index.json` names."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from tintype.errors import WeightsUnusable

#: The classes that a folder may name, and where each lives: importing the module costs a third of importing the
#: package's front door, and a name that isn't here is never imported.
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

#: Bytes of each end of a file that its fingerprint covers.
SAMPLED = 2**20


class Folder:
    """A model's folder: `model_index.json` and one sub-folder per component."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.path = path
        self.device = device
        self.dtype = dtype
        self.index = read_json(path / "model_index.json")

    def component(self, name: str) -> Any:
        """Load one component, or None where the index has none; raises WeightsUnusable."""
        class_name = (self.index.get(name) or [None, None])[1]
        if class_name is None:
            return None
        if class_name not in CLASSES:
            raise WeightsUnusable(f"component {name}: {class_name} is not supported; known are {', '.join(CLASSES)}")
        module, _, attribute = CLASSES[class_name].rpartition(".")
        component = getattr(import_module(module), attribute)
        folder = self.path / name
        if "Tokenizer" in class_name:
            return component.from_pretrained(folder, local_files_only=True)
        model = component.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        # `.to` after loading: diffusers 0.42.1 leaves a bias in float32 when asked for bfloat16 at load.
        return model.to(self.device, self.dtype).eval().requires_grad_(False)

    def required(self, name: str) -> Any:
        """Load a component that the family can't do without; raises WeightsUnusable."""
        component = self.component(name)
        if component is None:
            raise WeightsUnusable(f"component {name} is missing from model_index.json")
        return component

    def config(self, name: str) -> dict[str, Any]:
        """The JSON configuration of a component that has no weights, as the scheduler's."""
        return read_json(self.path / name / f"{name}_config.json")


def fingerprint(path: Path) -> str:
    """A short name for a folder's weights: other weights have another, wherever they lie.

    It covers each file's name, size, beginning and end (a safetensors file begins with the table of its tensors):
    reading tens of gigabytes in full would take as long as loading them.
    """
    hashed = hashlib.blake2b(digest_size=12)
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        size = file.stat().st_size
        hashed.update(f"{file.relative_to(path)} {size}\n".encode())
        with file.open("rb") as content:
            hashed.update(content.read(SAMPLED))
            content.seek(max(0, size - SAMPLED))
            hashed.update(content.read(SAMPLED))
    return hashed.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises WeightsUnusable that names the file, not the folder it lies in."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsUnusable(f"{path.name} can't be read: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise WeightsUnusable(f"{path.name} is not a JSON object")
    return content


def quiet_libraries() -> None:
    """Keep diffusers' and transformers' advice and progress bars out of our logs; their errors still raise."""
    for library in ("diffusers", "transformers"):
        logging = import_module(f"{library}.utils.logging")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
