"""The classes of diffusers and transformers that are used here, imported together and silenced."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from tintype.errors import WeightsUnusable
from tintype.families import FAMILIES
from tintype.families.spec import class_name


def _paths() -> Iterator[str]:
    """Of the classes that families' components and tokenizers may have."""
    for component in (one for family in FAMILIES.values() for one in family.components):
        yield from (network.path for network in component.networks)
        if component.tokenizer:
            yield component.tokenizer.path


#: The classes that a folder may name, and their import paths: no other name is ever imported.
CLASSES = {class_name(path): path for path in _paths()}


def find_class(name: str) -> Any:
    """The class of a component; raises WeightsUnusable for one that isn't supported."""
    if name not in CLASSES:
        raise WeightsUnusable(f"{name} is not supported; known are {', '.join(CLASSES)}")
    return _classes()[name]


def quiet_libraries() -> None:
    """Import them, and turn off their warnings and progress bars; errors still raise."""
    _classes()


@cache
def _classes() -> dict[str, Any]:
    """All of them together, as whichever is imported first imports nearly all that the others need."""
    with uncollected():
        for library in ("diffusers", "transformers"):
            _quiet(import_module(f"{library}.utils.logging"))
        return {name: _imported(path) for name, path in CLASSES.items()}


@contextmanager
def uncollected() -> Iterator[None]:
    """Turn the garbage collector off for imports: a quarter of torch's time, a third of these libraries'.

    All objects are frozen afterwards, as modules are never freed.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def _quiet(logging: Any) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _imported(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    return getattr(import_module(module), attribute)
