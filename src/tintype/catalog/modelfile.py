"""The models file: TOML that maps slugs to weights, and adds slugs of its own to the catalogue."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tintype.catalog.parameters import offering, refined
from tintype.catalog.spec import MAX_SIDE, MIN_SIDE, MULTIPLE, Alias, Catalogue, ModelSpec
from tintype.errors import BadRequest, ConfigurationInvalid
from tintype.families import FAMILIES
from tintype.settings.values import OwnPrice

SLUG = re.compile(r"[a-z0-9][a-z0-9.\-]{0,79}")
#: Other addresses below /v1 and /v2 than the models' own, which a slug would hide, or be hidden by: those that there
#: are (a test holds them against the routes), and those of other hosts' dialects.
RESERVED = (
    "account", "collections", "default", "deployments", "events", "files", "get-user-credits", "hardware", "images",
    "keys", "ledger", "models", "operator", "predictions", "requests", "responses", "samples", "trainings", "usage",
    "verify", "warm", "webhooks",
)  # fmt: skip
#: What may be another name of models: with a slash inside, one of `owner/name`.
ALIAS = re.compile(r"(?=.{1,80}$)[A-Za-z0-9._:\-]+(/[A-Za-z0-9._:\-]+)?")
#: What a few-step model fixes, and the numbers it may be.
BOUNDS = {"steps": (1, 100), "guidance": (1, 25)}

#: `owner/name`, as the hub has them.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*")
#: A branch, a tag or a commit.
REVISION = re.compile(r"[A-Za-z0-9][\w.\-/]*")


def _repository(name: str) -> str:
    if not REPOSITORY.fullmatch(name) or ".." in name:
        raise ValueError("a repository of the hub, owner/name")
    return name


def _revision(name: str) -> str:
    if not REVISION.fullmatch(name) or ".." in name:
        raise ValueError("a branch, a tag or, best, a commit")
    return name


def _side(pixels: int) -> int:
    if pixels % MULTIPLE or not MIN_SIDE <= pixels <= MAX_SIDE:
        raise ValueError(f"multiples of {MULTIPLE} from {MIN_SIDE} to {MAX_SIDE}")
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
    #: Dollars per image, or a table: dollars, per, most_seconds.
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
    text_encoders: tuple[Path, ...] = ()
    #: A folder with the folders `tokenizer`, …, for files in the original layout, which have none.
    tokenizers: Path | None = None
    #: The same for any component of the family, by its name.
    components: dict[str, Path] = {}
    loras: Loras = ()
    #: LoRAs that a caller may ask for, by name.
    available_loras: dict[str, Annotated[LoraEntry, BeforeValidator(_lora)]] = {}
    #: A file or folder with the weights of the model's refiner, for callers to ask for.
    refiner: Path | None = None
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
        """Whether it says where its weights are, or changes them: then the built-in ones don't replace them."""
        parts = self.vae or self.text_encoders or self.components or self.refiner
        changed = self.loras or self.available_loras or parts or self.prediction
        return bool(self.source or self.folder or self.file or changed)


Entries = Mapping[str, ModelEntry]


class AliasEntry(Strict):
    """The models of an alias, by purpose."""

    generate: str
    edit: str


def _alias(value: object) -> object:
    """A slug alone is for both."""
    return {"generate": value, "edit": value} if isinstance(value, str) else value


class ModelsFile(Strict):
    """The whole file."""

    models: dict[str, ModelEntry] = Field(default_factory=dict)
    #: What other hosts' clients call models.
    aliases: dict[str, Annotated[AliasEntry, BeforeValidator(_alias)]] = Field(default_factory=dict)


def read_models_file(path: Path) -> ModelsFile:
    """The file; raises ConfigurationInvalid, which names the key, what was given and what is allowed."""
    try:
        return ModelsFile(**tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigurationInvalid(f"{path}: can't be read: {error.strerror}") from error
    except RecursionError as error:
        raise ConfigurationInvalid(f"{path.name}: it is nested too deeply") from error
    except ValueError as error:
        if isinstance(error, ValidationError):
            raise ConfigurationInvalid(f"{path.name}: {explain(error)}") from None
        raise ConfigurationInvalid(f"{path.name}: it is not TOML: {error}") from None


def extend(catalogue: Catalogue, file: ModelsFile) -> Catalogue:
    """The catalogue with the file's own slugs and aliases, and with what it changes of the others.

    Raises ConfigurationInvalid.
    """
    changed = {slug: _spec(slug, entry, catalogue) for slug, entry in file.models.items()}
    specs = dict(catalogue) | changed
    return Catalogue(specs.values(), aliases=dict(catalogue.aliases) | _aliases(file, specs))


def _aliases(file: ModelsFile, specs: Mapping[str, ModelSpec]) -> dict[str, Alias]:
    for name, entry in file.aliases.items():
        where = f"aliases.{name}"
        if not ALIAS.fullmatch(name) or name in specs:
            words = "1 to 80 of A-Z a-z 0-9 . _ : - with at most one / inside, and no slug"
            raise ConfigurationInvalid(f"{where}: no alias can be called so; allowed: {words}")
        for purpose, slug in entry:
            if slug not in specs:
                raise ConfigurationInvalid(f"{where}.{purpose}: {slug!r} was given; allowed: {', '.join(specs)}")
    return {name: Alias(entry.generate, entry.edit) for name, entry in file.aliases.items()}


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, in the words of the file."""
    # An unknown key first: one that is missing may be meant by it.
    first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    where = ".".join(map(str, first["loc"]))
    given = first["input"]
    if first["type"] == "extra_forbidden":
        return f"{where}: {_unknown(first['loc'], given)}"
    if first["type"] == "missing":
        return f"{where}: required, but not there"
    allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    shown = "" if isinstance(given, dict) else f"{given!r} was given; "
    return f"{where}: {shown}allowed: {allowed}"


def _unknown(loc: tuple[int | str, ...], given: object) -> str:
    name = str(loc[-1])
    if len(loc) == 3 and isinstance(given, dict) and name not in ModelEntry.model_fields:
        return f'no such key; a slug with a dot in it stands in quotes: [models."{loc[1]}.{name}"]'
    if loc[0] == "aliases":
        return f'no such key, but generate and edit; a name with a dot in it stands in quotes: "{loc[1]}.{name}"'
    known = list(ModelEntry.model_fields) if len(loc) == 3 else list(ModelsFile.model_fields) if len(loc) == 1 else []
    closest = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"; the closest is {closest[0]}" if closest else f"; there are {', '.join(known)}" if known else ""
    return f"no such key{hint}"


def _spec(slug: str, entry: ModelEntry, catalogue: Catalogue) -> ModelSpec:
    where = f"models.{slug}"
    if not SLUG.fullmatch(slug):
        raise ConfigurationInvalid(f"{where}: a slug is a-z, 0-9, dots and hyphens")
    if slug in RESERVED:
        raise ConfigurationInvalid(
            f"{where}: {slug} is reserved for addresses of the server, as are {', '.join(RESERVED)}"
        )
    if (slug in catalogue) == (entry.like is not None):
        known = ", ".join(catalogue)
        problem = "it has its own parameters; leave like out" if entry.like else f"required; allowed: {known}"
        raise ConfigurationInvalid(f"{where}.like: {problem}")
    if entry.like is not None and entry.like not in catalogue:
        raise ConfigurationInvalid(f"{where}.like: {entry.like!r} was given; allowed: {', '.join(catalogue)}")
    base = catalogue[entry.like or slug]
    _check_components(where, base, entry)
    spec = replace(
        base,
        slug=slug,
        like=entry.like or "",
        title=entry.title or base.title,
        description=entry.description or base.description,
        fixed=dict(base.fixed) | _fixed(where, base, entry.fixed),
    )
    try:
        styled = offering(spec, entry.available_loras)
    except ValueError as error:
        raise ConfigurationInvalid(f"{where}.available_loras: {error}") from None
    whole = _refined(where, styled) if entry.refiner else styled
    return _with_defaults(where, _sized(where, whole, entry.sizes), entry.defaults)


def _check_components(where: str, base: ModelSpec, entry: ModelEntry) -> None:
    """Raise ConfigurationInvalid for components that the family hasn't."""
    family = FAMILIES[base.family]
    encoders = ", ".join(one.name for one in family.text_encoders)
    if len(entry.text_encoders) > len(family.text_encoders):
        given = f"{len(entry.text_encoders)} were given"
        raise ConfigurationInvalid(f"{where}.text_encoders: {given}; {base.title} has {encoders}")
    names = [one.name for one in family.components]
    for name in entry.components:
        if name not in names:
            raise ConfigurationInvalid(f"{where}.components.{name}: no such component; there are {', '.join(names)}")


def _refined(where: str, spec: ModelSpec) -> ModelSpec:
    """The model whose callers may ask for its refiner."""
    if all(param.field != "refiner" for param in spec.parameters):
        raise ConfigurationInvalid(f"{where}.refiner: {spec.title} takes none; leave refiner out")
    return refined(spec)


def _sized(where: str, spec: ModelSpec, sizes: tuple[int, ...]) -> ModelSpec:
    """The model with these sides to choose from; the first is the default."""
    if not sizes:
        return spec
    sides = [param for param in spec.parameters if param.field in ("width", "height")]
    if not sides:
        raise ConfigurationInvalid(f"{where}.sizes: {spec.title} draws at the input image's size; leave sizes out")
    limits: dict[str, Any] = {"choices": sizes, "default": sizes[0], "minimum": None, "maximum": None, "step": 0}
    parameters = tuple(replace(param, **limits) if param in sides else param for param in spec.parameters)
    example = dict(spec.example) | {param.name: sizes[0] for param in sides}
    return replace(spec, parameters=parameters, example=example)


def _fixed(where: str, base: ModelSpec, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The fixed fields of `GenerationParams` that the file changes, checked."""
    for name, value in wanted.items():
        min_, max_ = BOUNDS.get(name, (0, 0))
        if name not in base.fixed or name not in BOUNDS:
            allowed = (
                ", ".join(name for name in base.fixed if name in BOUNDS)
                or f"nothing: callers choose it all for {base.slug}"
            )
            raise ConfigurationInvalid(f"{where}.fixed.{name}: no such key; allowed: {allowed}")
        kind = (int,) if name == "steps" else (int, float)
        if type(value) not in kind or not min_ <= value <= max_:
            raise ConfigurationInvalid(f"{where}.fixed.{name}: {value!r} was given; allowed: {min_} to {max_}")
    return dict(wanted)


def _with_defaults(where: str, spec: ModelSpec, defaults: Mapping[str, Any]) -> ModelSpec:
    """The model with other defaults, each of them one that a caller could send."""
    try:
        checked, ignored = spec.validate({**spec.example, **defaults})
    except BadRequest as error:
        raise ConfigurationInvalid(f"{where}.defaults.{error.message}") from None
    if ignored:
        allowed = ", ".join(param.name for param in spec.parameters)
        raise ConfigurationInvalid(f"{where}.defaults.{ignored[0]}: no such parameter; allowed: {allowed}")
    own = {name: checked[name] for name in defaults}
    parameters = (replace(param, default=own.get(param.name, param.default)) for param in spec.parameters)
    return replace(spec, parameters=tuple(parameters), example={**spec.example, **own})
