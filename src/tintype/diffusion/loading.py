"""Components out of a folder in the diffusers layout, by the classes that its `model_index.json` names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from tintype.diffusion.weights import Weights, read_json
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


class Folder:
    """A model's folder: `model_index.json` and one sub-folder per component."""

    def __init__(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        self.path = weights.folder
        self.lora = weights.lora
        self.device = device
        self.dtype = dtype
        self.index = read_json(self.path / "model_index.json")

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
        if name == "transformer" and self.lora:
            model = merge_lora(model, self.lora)  # in float32, which diffusers has loaded it in
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


def merge_lora(model: Any, file: Path) -> Any:
    """The model with a LoRA added into its weights (Hu et al. 2021, § 4.1), so that it costs nothing when drawing."""
    with torch.inference_mode(False), torch.no_grad():
        model.load_lora_adapter(file.parent, weight_name=file.name, prefix=None, use_safetensors=True)
        model.fuse_lora()
        model.unload_lora()
    return model


def quiet_libraries() -> None:
    """Keep diffusers' and transformers' advice and progress bars out of our logs; their errors still raise."""
    for library in ("diffusers", "transformers"):
        logging = import_module(f"{library}.utils.logging")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
