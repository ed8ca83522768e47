"""Whether a checkpoint is whole: every network built without numbers, and compared with what the files' headers say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors
from tintype.checkpoints.lora_file import LoraFile
from tintype.checkpoints.parts import OPTIONAL, PARTS
from tintype.checkpoints.weights import Weights
from tintype.diffusion.libraries import CLASSES
from tintype.diffusion.loading import build
from tintype.errors import WeightsUnusable

#: Files of which a tokenizer's folder has at least one.
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; its text is a line for people."""

    #: As in the diffusers layout, such as `unet`; `checkpoint` for what concerns no single one.
    component: str
    kind: Literal["missing", "unexpected", "misshapen", "unusable"]
    #: By the name that the library's class has for it; empty where it concerns the component as a whole.
    tensor: str
    detail: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.component, self.tensor, self.detail)))


def check(weights: Weights, family: str) -> list[Finding]:
    """Everything that would keep these weights from loading as a model of that family; reads headers only.

    Empty where all is well: every tensor is there, in its shape, and none that has no place.
    """
    try:
        checkpoint = Checkpoint(weights, family)
        _ = checkpoint.scheduler
        strays = checkpoint.layout.strays
        _ = weights.traits  # which says what is wrong with tintype.json
    except WeightsUnusable as error:
        return [Finding("checkpoint", "unusable", "", error.message)]
    findings = [Finding("checkpoint", "unexpected", name, "belongs to no network of the model") for name in strays]
    for name in PARTS[family]:
        findings += _component(checkpoint, name)
    return findings + [finding for name in checkpoint.tokenizers for finding in _tokenizer(checkpoint, name)]


def _component(checkpoint: Checkpoint, name: str) -> list[Finding]:
    try:
        component = checkpoint.component(name)
        if component is None:
            return [] if name in OPTIONAL else [Finding(name, "missing", "", checkpoint.absent(name))]
        found = component.outline()
        for lora in component.loras:
            LoraFile(lora.path).updates(name, found)
        return list(_differences(name, _expected(component), found))
    except WeightsUnusable as error:
        return [Finding(name, "unusable", "", error.message)]


def _expected(component: Component) -> Tensors:
    try:
        model = build(component)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        known = component.class_name if component.class_name in CLASSES else "a class that is known"
        raise WeightsUnusable(f"its configuration is not one of {known}: {type(error).__name__}") from error
    tied = getattr(model, "_tied_weights_keys", None) or ()  # names that follow others
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}


def _differences(component: str, expected: Tensors, found: Tensors) -> Iterator[Finding]:
    for name, tensor in expected.items():
        if name not in found:
            yield Finding(component, "missing", name, f"is missing, {_size(tensor.shape)}")
        elif found[name].shape != tensor.shape:
            detail = f"is {_size(found[name].shape)} and should be {_size(tensor.shape)}"
            yield Finding(component, "misshapen", name, detail)
    for name in found.keys() - expected.keys():
        yield Finding(component, "unexpected", name, f"has no place in it, {_size(found[name].shape)}")


def _tokenizer(checkpoint: Checkpoint, name: str) -> list[Finding]:
    try:
        folder = checkpoint.tokenizer(name)
    except WeightsUnusable as error:
        return [Finding(name, "missing", "", error.message)]
    if folder is None or any((folder / file).is_file() for file in TOKENIZER_FILES):
        return []
    return [Finding(name, "missing", "", f"none of {', '.join(TOKENIZER_FILES)} is in its folder")]


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"
