"""One model's entry in the models file: the keys that an operator may write, checked by themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tintype.settings import OwnPrice

#: `owner/name`, as the hub has them.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
#: A branch, a tag or a commit.
REVISION = re.compile(r"[A-Za-z0-9][\w.\-/]*")
#: Pixels of a side that every family can divide, and draws in reasonable time.
STEP, SMALLEST, LARGEST = 16, 64, 2048


def _repository(name: str) -> str:
    if not REPOSITORY.fullmatch(name) or ".." in name:
        raise ValueError("a repository of the hub, owner/name")
    return name


def _revision(name: str) -> str:
    if not REVISION.fullmatch(name) or ".." in name:
        raise ValueError("a branch, a tag or, best, a commit")
    return name


def _side(pixels: int) -> int:
    if pixels % STEP or not SMALLEST <= pixels <= LARGEST:
        raise ValueError(f"multiples of {STEP} from {SMALLEST} to {LARGEST}")
    return pixels


Repository = Annotated[str, AfterValidator(_repository)]
Revision = Annotated[str, AfterValidator(_revision)]
Side = Annotated[int, AfterValidator(_side)]


class Strict(BaseModel):
    """Unknown keys are refused: a typing mistake would go unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraEntry(Strict):
    """A LoRA that is added into the weights at load."""

    #: The file: in the repository where there is a `source`, else on this machine, from the models file's folder.
    file: Path
    source: Repository | None = None
    revision: Revision = "main"
    #: 1 is as it was trained.
    scale: float = Field(1.0, ge=-10, le=10)


def _lora(value: object) -> object:
    """A path alone is a LoRA as it was trained."""
    return {"file": value} if isinstance(value, str) else value


Loras = tuple[Annotated[LoraEntry, BeforeValidator(_lora)], ...]


class ModelEntry(Strict):
    """What the models file says of one slug."""

    #: The model whose parameters, family and price it has; left out for a slug that tintype has itself.
    like: str | None = None
    title: str | None = Field(None, min_length=1, max_length=200)
    description: str | None = Field(None, min_length=1, max_length=2000)
    #: Dollars per picture, or a table: dollars, per, most_seconds.
    price: OwnPrice | None = None
    #: What parameters are where a caller sends nothing.
    defaults: dict[str, Any] = {}
    #: What a model of few steps doesn't let a caller choose, where these weights need it otherwise.
    fixed: dict[str, Any] = {}
    #: Sides in pixels that are allowed instead of the model's own; the first is the default.
    sizes: tuple[Side, ...] = ()

    #: A repository of the hub, for `tintype models pull`.
    source: Repository | None = None
    revision: Revision = "main"
    #: A folder in the diffusers layout on this machine.
    folder: Path | None = None
    #: One file in the original layout: in the repository where there is a `source`, else on this machine.
    file: Path | None = None
    #: A file or folder on this machine, instead of the one in the weights.
    vae: Path | None = None
    #: The same for the text encoders, in the family's order: for SD 3 CLIP-L, CLIP-G, T5.
    text_encoders: tuple[Path, ...] = Field((), max_length=3)
    #: A folder with the folders `tokenizer`, …, for files in the original layout, which have none.
    tokenizers: Path | None = None
    loras: Loras = ()
    #: LoRAs that a caller may ask for, by name.
    available_loras: dict[str, Annotated[LoraEntry, BeforeValidator(_lora)]] = {}
    prediction: Literal["epsilon", "v_prediction"] | None = None
    #: Where SD 3's largest text encoder runs, or that it is neither pulled nor loaded.
    t5: Literal["device", "cpu", "none"] = "device"
    #: Whether it stays in memory whatever else is asked for.
    pin: bool = False
    #: Seconds that it stays in memory unused; None leaves it to the server.
    keep_alive: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.folder and (self.source or self.file):
            raise ValueError("a folder alone, a file alone, or a source, perhaps with a file in it")
        return self

    @property
    def elsewhere(self) -> bool:
        """Whether it says where its weights are, or changes them: then the built-in ones can't stand in."""
        changed = self.loras or self.available_loras or self.vae or self.text_encoders or self.prediction
        return bool(self.source or self.folder or self.file or changed)
