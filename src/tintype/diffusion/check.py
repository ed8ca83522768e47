"""Checks of a checkpoint without loading it: all tensors are there, in their shapes, and components fit together."""

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
from tintype.checkpoints.weights import Lora, WeightsSpec
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.loading import build, class_of, open_tokenizer, whole_config
from tintype.errors import WeightsUnusable
from tintype.families.spec import Capability, ComponentSpec, Config, Misfit

#: Files of which a tokenizer's folder has at least one.
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")

#: Of weights for inpainting alone, as weights of another model.
NEEDS_MASK = "it is one for inpainting alone, and this model takes no mask: name it for a model that does"


@dataclass(frozen=True)
class Finding:
    """One problem; `str` is a line for people."""

    #: As in the diffusers layout, such as `unet`; `checkpoint` for the whole.
    component: str
    kind: Literal["missing", "unexpected", "misshapen", "unusable", "ignored"]
    #: By its name in the library's class; empty where it concerns the whole component.
    tensor: str
    detail: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.component, self.tensor, self.detail)))

    @property
    def harmless(self) -> bool:
        """Whether the weights load all the same, without the tensors concerned."""
        return self.kind == "ignored"


def check(weights: WeightsSpec, family: str, needs: Capability | None = None) -> list[Finding]:
    """Everything that would keep these weights from loading as a model of that family; reads files' headers only.

    needs: what the model starts from; None for any.
    Empty where every tensor is there, in its shape, and none is unexpected, all components fit together, and every
    LoRA, including those that callers may choose, applies to some. What has no effect is `harmless`.
    """
    quiet_libraries()
    try:
        checkpoint = Checkpoint(weights, family)
        unexpected, ignored = checkpoint.layout.unexpected_keys, checkpoint.ignored
        _ = weights.metadata  # raises for an invalid tintype.json
    except WeightsUnusable as error:
        return [Finding("checkpoint", "unusable", "", error.message)]
    notes = [Finding("checkpoint", "ignored", name, "belongs to no network of the model") for name in unexpected]
    notes += [Finding("checkpoint", "ignored", "", words) for words in ignored]
    findings = _scheduler(checkpoint)
    opened = cache(LoraFile)
    findings += [finding for one in checkpoint.family.components for finding in _component(checkpoint, one, opened)]
    findings += [finding for one in checkpoint.family.text_encoders for finding in _tokenizer(checkpoint, one)]
    if not findings:  # otherwise they can't be compared
        findings += [
            *_misfits(checkpoint, needs),
            *(one for offer in weights.available_loras for one in _offered(checkpoint, *offer, opened)),
        ]
    if weights.refiner and checkpoint.family.refiner:
        found = check(weights.refiner, checkpoint.family.refiner)
        findings += [replace(one, component=f"refiner's {one.component}") for one in found]
    return notes + findings


def _scheduler(checkpoint: Checkpoint) -> list[Finding]:
    try:
        _ = checkpoint.scheduler
    except WeightsUnusable as error:
        return [Finding("scheduler", "unusable", "", error.message)]
    return []


def _component(checkpoint: Checkpoint, spec: ComponentSpec, opened: Callable[[Path], LoraFile]) -> list[Finding]:
    name = spec.name
    try:
        component = checkpoint.component(spec)
        if component is None:
            return [] if spec.optional else [Finding(name, "missing", "", checkpoint.missing_message(name))]
        found = component.meta_tensors()
        if differences := list(_differences(name, _expected(component), found)):
            return differences
        for lora in component.loras:
            opened(lora.path).updates(spec, found)
    except WeightsUnusable as error:
        return [Finding(name, "unusable", "", error.message)]
    return []


def _offered(checkpoint: Checkpoint, name: str, lora: Lora, opened: Callable[[Path], LoraFile]) -> Iterator[Finding]:
    """Problems of a LoRA that callers may choose."""
    chosen = Checkpoint(replace(checkpoint.weights, loras=(replace(lora, scale=1.0),)), checkpoint.family.name)
    try:
        for words in chosen.ignored:
            yield Finding("available_loras", "ignored", name, words)
        for component in filter(None, map(chosen.component, chosen.family.components)):
            for one in component.loras:
                opened(one.path).updates(component.spec, component.meta_tensors())
    except WeightsUnusable as error:
        yield Finding("available_loras", "unusable", name, error.message)


def _misfits(checkpoint: Checkpoint, needs: Capability | None) -> Iterator[Finding]:
    try:
        for component, problem in misfits(checkpoint, needs):
            yield Finding(component, "unusable", "", problem)
    except WeightsUnusable as error:
        yield Finding("checkpoint", "unusable", "", error.message)


def _expected(component: Component) -> Tensors:
    model = build(component)
    tied = getattr(model, "_tied_weights_keys", None) or ()  # tied to other names
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


def _tokenizer(checkpoint: Checkpoint, encoder: ComponentSpec) -> list[Finding]:
    name = encoder.tokenizer.name if encoder.tokenizer else encoder.name
    try:
        folder = checkpoint.tokenizer(encoder)
    except WeightsUnusable as error:
        return [Finding(name, "missing", "", error.message)]
    if folder is None:
        return []
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        return [Finding(name, "missing", "", f"none of {', '.join(TOKENIZER_FILES)} is in its folder")]
    try:
        open_tokenizer(checkpoint, encoder)
    except WeightsUnusable as error:
        return [Finding(name, "unusable", "", error.message)]
    return []


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"


def require_fit(checkpoint: Checkpoint, needs: Capability | None = None) -> None:
    """Raises WeightsUnusable that names the first component that doesn't fit the others, or what the model `needs`."""
    for component, problem in misfits(checkpoint, needs):
        raise WeightsUnusable(f"component {component}: {problem}")


def misfits(checkpoint: Checkpoint, needs: Capability | None = None) -> Iterator[Misfit]:
    """The components that don't fit the others, or what the model `needs`.

    Raises WeightsUnusable where one is missing or invalid.
    """
    family = checkpoint.family
    found = ((one.name, _config(checkpoint, one)) for one in family.components)
    configs = {name: config for name, config in found if config is not None}
    yield from family.misfits(configs)
    if needs not in (None, "mask") and family.needs_mask(configs):
        yield family.denoiser.name, NEEDS_MASK


def _config(checkpoint: Checkpoint, spec: ComponentSpec) -> Config | None:
    component = checkpoint.component(spec)
    if component is None and spec.optional:
        return None
    if component is None:
        raise WeightsUnusable(checkpoint.missing_message(spec.name))
    class_of(component)
    if spec.network(component.class_name) is None:
        words = f"{component.class_name} can't do its work in a model of the family {checkpoint.family.name}"
        allowed = ", ".join(network.class_name for network in spec.networks)
        raise WeightsUnusable(f"component {spec.name}: {words}; known are {allowed}")
    return whole_config(component)
