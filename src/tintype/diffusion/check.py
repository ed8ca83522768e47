"""Whether a checkpoint is whole and its parts fit: networks built without numbers, and what the files' headers say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors
from tintype.checkpoints.lora import LoraFile
from tintype.checkpoints.single_file import COMPONENTS, OPTIONAL
from tintype.checkpoints.weights import Lora, WeightsSpec
from tintype.diffusion.fitting import misfits
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.loading import build, open_tokenizer
from tintype.errors import WeightsUnusable

#: Files of which a tokenizer's folder has at least one.
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; its text is a line for people."""

    #: As in the diffusers layout, such as `unet`; `checkpoint` for what concerns no single one.
    component: str
    kind: Literal["missing", "unexpected", "misshapen", "unusable", "ignored"]
    #: By the name that the library's class has for it; empty where it concerns the component as a whole.
    tensor: str
    detail: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.component, self.tensor, self.detail)))

    @property
    def harmless(self) -> bool:
        """Whether the weights load all the same, without what this is about."""
        return self.kind == "ignored"


def check(weights: WeightsSpec, family: str) -> list[Finding]:
    """Everything that would keep these weights from loading as a model of that family; reads networks' headers only.

    Empty where all is well: every tensor is there, in its shape, and none that has no place; all components can work
    together, and the LoRAs, those for callers to choose too, have something to add. What is left over is `harmless`.
    """
    quiet_libraries()
    try:
        checkpoint = Checkpoint(weights, family)
        unexpected, ignored = checkpoint.layout.unexpected_keys, checkpoint.ignored
        _ = weights.metadata  # which says what is wrong with tintype.json
    except WeightsUnusable as error:
        return [Finding("checkpoint", "unusable", "", error.message)]
    notes = [Finding("checkpoint", "ignored", name, "belongs to no network of the model") for name in unexpected]
    notes += [Finding("checkpoint", "ignored", "", words) for words in ignored]
    findings = _scheduler(checkpoint)
    opened = cache(LoraFile)
    findings += [finding for name in COMPONENTS[family] for finding in _component(checkpoint, name, opened)]
    findings += [finding for name in checkpoint.tokenizers for finding in _tokenizer(checkpoint, name)]
    if not findings:  # else they can't be compared
        findings += [
            *_misfits(checkpoint),
            *(one for offer in weights.available_loras for one in _offered(checkpoint, *offer, opened)),
        ]
    return notes + findings


def _scheduler(checkpoint: Checkpoint) -> list[Finding]:
    try:
        _ = checkpoint.scheduler
    except WeightsUnusable as error:
        return [Finding("scheduler", "unusable", "", error.message)]
    return []


def _component(checkpoint: Checkpoint, name: str, opened: Callable[[Path], LoraFile]) -> list[Finding]:
    try:
        component = checkpoint.component(name)
        if component is None:
            return [] if name in OPTIONAL else [Finding(name, "missing", "", checkpoint.missing_message(name))]
        found = component.meta_tensors()
        if differences := list(_differences(name, _expected(component), found)):
            return differences
        for lora in component.loras:
            opened(lora.path).updates(name, found)
    except WeightsUnusable as error:
        return [Finding(name, "unusable", "", error.message)]
    return []


def _offered(checkpoint: Checkpoint, name: str, lora: Lora, opened: Callable[[Path], LoraFile]) -> Iterator[Finding]:
    """What is wrong with a LoRA that callers may choose."""
    chosen = Checkpoint(replace(checkpoint.weights, loras=(replace(lora, scale=1.0),)), checkpoint.family)
    try:
        for words in chosen.ignored:
            yield Finding("available_loras", "ignored", name, words)
        for component in filter(None, map(chosen.component, COMPONENTS[chosen.family])):
            for one in component.loras:
                opened(one.path).updates(component.name, component.meta_tensors())
    except WeightsUnusable as error:
        yield Finding("available_loras", "unusable", name, error.message)


def _misfits(checkpoint: Checkpoint) -> Iterator[Finding]:
    try:
        for component, problem in misfits(checkpoint):
            yield Finding(component, "unusable", "", problem)
    except WeightsUnusable as error:
        yield Finding("checkpoint", "unusable", "", error.message)


def _expected(component: Component) -> Tensors:
    model = build(component)
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
    if folder is None:
        return []
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        return [Finding(name, "missing", "", f"none of {', '.join(TOKENIZER_FILES)} is in its folder")]
    try:
        open_tokenizer(checkpoint, name)
    except WeightsUnusable as error:
        return [Finding(name, "unusable", "", error.message)]
    return []


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"
