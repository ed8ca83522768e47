"""What a model's entry says, and the validator and JSON Schema that follow from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib.metadata import entry_points
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from tintype.core import IMAGE_ROLES, Callback, GenerationParams, InputImage, Role, Size
from tintype.errors import SENT_LENGTH, InvalidParameter, MissingParameter, ModelUnknown, NotServed
from tintype.families import FAMILIES
from tintype.families.spec import Capability

Value = str | int | float | bool
Kind = Literal["string", "picture", "integer", "number", "boolean"]
#: A number as text: what JSON takes, also with a plus sign; not all that Python reads (1_0, １０, nan).
NUMERAL = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", re.ASCII)
#: Where a form shows a parameter, in this order.
Group = Literal["picture", "prompt", "method", "size", "answer"]

#: Sides in pixels: their multiple, 8 for the autoencoder times 2 for SD 3's patches; their min and max.
MULTIPLE, MIN_SIDE, MAX_SIDE = 16, 64, 2048
#: Drawn seeds stay short enough to be read out, and exact in JavaScript.
DRAWN_SEEDS = 2**32
FIELDS = frozenset(one.name for one in fields(GenerationParams))

#: Far above what any text encoder reads (77 or 256 tokens), far below what slows a tokenizer down.
MAX_TEXT = 20_000
TYPES: Mapping[Kind, Any] = {"string": str, "picture": str, "integer": int, "number": float, "boolean": bool}
WORDS: Mapping[Kind, str] = {
    "string": f"text of at most {MAX_TEXT} characters",
    "picture": "an http(s) URL, a data: URI, base64, or a sample's path such as /sd-img2img-input.jpeg",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True, kw_only=True)
class Param:
    """One parameter of one model: everything that is known about it."""

    name: str
    kind: Kind
    help: str
    #: A required parameter must be sent; its default, if it has one, is only what forms show.
    required: bool = False
    default: Value | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Value, ...] = ()
    #: Spellings that are accepted in addition to the choices, and the value each one means.
    aliases: Mapping[str, str] = field(default_factory=dict)
    #: A regular expression that the whole of a text must match, as Python and JavaScript both read it; and in words.
    pattern: str = ""
    words: str = ""
    #: The entry point group in which other packages offer further values.
    plug_ins: str = ""
    #: The field of `GenerationParams` that it fills, or one of IMAGE_ROLES; its own name where the two agree.
    means: str = ""
    group: Group = "answer"
    #: What a form's slider moves by; 0 leaves it to the form. Values between are allowed.
    step: float = 0

    @cached_property
    def field(self) -> str:
        """The field of `GenerationParams` that it fills, or one of IMAGE_ROLES."""
        return self.means or self.name

    @property
    def allowed(self) -> str:
        """What may be sent, in words."""
        if self.choices and not self.words:
            return "one of " + ", ".join(str(choice) for choice in self.offered)
        words = self.words or WORDS[self.kind]
        if self.minimum is None or self.maximum is None:
            return words
        # int: `{:g}` would round the largest seed.
        highest = int(self.maximum) if self.kind == "integer" else self.maximum
        return f"{words} from {self.minimum:g} to {highest:{'' if self.kind == 'integer' else 'g'}}"

    def check(self, value: Any) -> Any:
        """The value that an already typed one means; raises ValueError for what is not allowed."""
        if isinstance(value, str):
            value.encode()  # a lone surrogate is valid JSON, but no text: UnicodeEncodeError is a ValueError
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ValueError(self.allowed)
        if self.choices and value not in self.accepted:
            raise ValueError(self.allowed)
        return self.aliases.get(value, value)

    @property
    def offered(self) -> tuple[Value, ...]:
        """The choices, and after them what other packages add."""
        return (*self.choices, *sorted(self.plugged_in.difference(map(str, self.choices))))

    @property
    def accepted(self) -> tuple[Value, ...]:
        """What is offered, and after it the other spellings."""
        return (*self.offered, *self.aliases)

    @cached_property
    def plugged_in(self) -> set[str]:
        """Values that other packages offer; only their names are read here, nothing is loaded.

        Read once: that takes a file of every installed package, which takes longer than all the rest of a validation.
        """
        return entry_points(group=self.plug_ins).names if self.plug_ins else set()

    def annotation(self) -> tuple[Any, Any]:
        """Type and field for pydantic's `create_model`."""
        limits: dict[str, Any] = {"ge": self.minimum, "le": self.maximum}
        if self.kind == "number":
            limits["allow_inf_nan"] = False
        if self.kind == "string" and not self.choices:
            limits["max_length"] = MAX_TEXT
        if self.kind == "picture":
            limits["min_length"] = 1
        refuse = (BeforeValidator(no_number),) if self.kind in ("integer", "number") else ()
        annotated: Any = Annotated[(TYPES[self.kind], AfterValidator(self.check), *refuse)]
        return annotated, Field(
            ... if self.required else self.default, description=self.help, json_schema_extra=self._shown(), **limits
        )

    def _shown(self) -> dict[str, Any]:
        """What the JSON Schema says next to types and limits; the `x-` words are for forms."""
        shown: dict[str, Any] = {"x-means": self.field, "x-group": self.group}
        if self.step:
            shown["x-step"] = self.step
        if self.pattern:
            shown["pattern"] = f"^{self.pattern}$"
        if self.choices:
            shown["enum"] = list(self.offered)
        if self.kind == "picture":
            shown["format"] = "uri"
        if self.required and self.default is not None:
            shown["default"] = self.default
        return shown


def no_number(value: Any) -> Any:
    """Refuse what is no number here, although Python and pydantic think so: true, and some texts."""
    if isinstance(value, bool) or (isinstance(value, str) and not NUMERAL.fullmatch(value)):
        raise ValueError("not a number")
    return value


@dataclass(frozen=True)
class Source:
    """A repository of the Hugging Face hub in the diffusers layout."""

    repository: str
    #: The commit that is pulled, so that every server has the same weights.
    revision: str
    licence: str
    #: Whether its licence must be accepted on the repository's page before anything can be pulled.
    gated: bool
    #: Bytes to be pulled, roughly: the files that are needed, each in its smallest published dtype.
    size: int
    #: Whether a few-step LoRA of the operator's choice must be added: the model's own weights aren't public.
    needs_lora: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model that is served: what can be asked of it and what it costs."""

    slug: str
    #: The model whose parameters and family a further slug of the operator's has; empty for one of tintype's own.
    like: str = ""
    #: The model whose weights it draws with unless it has its own: both then share them, and forward passes.
    weights_of: str = ""
    title: str
    description: str
    #: The architecture that runs it, by its name in `FAMILIES`.
    family: str
    #: Where its own weights are published; None for what has none.
    source: Source | None = None
    #: Whether it draws in few steps without guidance; the built-in weights have a mode of their own for that.
    few_steps: bool = False
    tariff: Tariff
    #: Seconds per image that the vendor publishes, for orientation.
    typical_seconds: float
    parameters: tuple[Param, ...]
    #: Fields of `GenerationParams` that a caller can't choose for this model.
    fixed: Mapping[str, Any] = field(default_factory=dict)
    #: A request that works, as the model's page shows it.
    example: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        family = FAMILIES[self.family]
        if self.needs not in family.capabilities:
            raise ValueError(f"{self.slug}: the family {self.family} can't start from {self.needs}")
        offered = [choice for param in self.parameters if param.field == "sampler" for choice in param.choices]
        fixed = [value for name, value in self.fixed.items() if name == "sampler"]
        if unknown := [name for name in (*offered, *fixed) if name not in family.samplers]:
            raise ValueError(f"{self.slug}: the family {self.family} has no samplers {', '.join(map(str, unknown))}")

    @cached_property
    def needs(self) -> Capability:
        """What its family must be able to start from."""
        return "mask" if "mask" in self.images else "image" if self.images else "text"

    @cached_property
    def images(self) -> Mapping[Role, str]:
        """The input images that it takes: the name of each role's parameter; none for text to image."""
        return {IMAGE_ROLES[param.field]: param.name for param in self.parameters if param.kind == "picture"}

    @property
    def takes_image(self) -> bool:
        """Whether it starts from an image."""
        return bool(self.images)

    @cached_property
    def names(self) -> frozenset[str]:
        """The parameters' names."""
        return frozenset(param.name for param in self.parameters)

    @cached_property
    def defaults(self) -> Mapping[str, Value | None]:
        """What the optional parameters are where they aren't sent."""
        return {param.name: param.default for param in self.parameters if not param.required}

    @cached_property
    def texts(self) -> frozenset[str]:
        """The parameters that hold any text, and may therefore be empty."""
        return frozenset(param.name for param in self.parameters if param.kind == "string" and not param.choices)

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """The file formats of its images: those that a caller may choose from, or its only one."""
        chosen = next((param.choices for param in self.parameters if param.field == "format"), ())
        return tuple(map(str, chosen)) or (self.fixed.get("format", "jpeg"),)

    @property
    def price(self) -> int:
        """The catalogue's own price in micro-dollars."""
        return self.tariff.price

    @cached_property
    def validator(self) -> type[BaseModel]:
        """The pydantic model of a request's body; unknown parameters are ignored."""
        fields: dict[str, Any] = {param.name: param.annotation() for param in self.parameters}
        # protected_namespaces: no parameter is a method of ours, whatever it is called.
        config = ConfigDict(title=self.slug, extra="ignore", protected_namespaces=())
        return create_model(self.slug, __config__=config, **fields)

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of the body, with the example."""
        return self.validator.model_json_schema() | {
            "title": self.title,
            "description": self.description,
            "examples": [dict(self.example)],
        }

    def validate(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Check a body → (every parameter with its value, the names that were ignored).

        Numbers and booleans may come as strings; null means absent. Raises MissingParameter, InvalidParameter.
        """
        sent = {name: value for name, value in body.items() if value is not None}
        ignored = sorted(sent.keys() - self.names)
        try:
            return self.validator(**sent).model_dump(), ignored
        except ValidationError as error:
            raise self._explain(error, sent) from None

    def check(self, name: str, value: Any) -> Any:
        """One parameter's value, checked without the others; raises InvalidParameter."""
        try:
            checked = self.validator.__pydantic_validator__.validate_assignment(
                self.validator.model_construct(), name, value
            )
        except ValidationError as error:
            raise self._explain(error, {name: value}) from None
        return getattr(checked, name)

    def parse(self, body: Mapping[str, Any]) -> Parsed:
        """Check a body and translate it; raises MissingParameter, InvalidParameter."""
        values, ignored = self.validate(body)
        return Parsed(self, self.read(values), values, tuple(ignored))

    def read(self, values: Mapping[str, Any]) -> GenerationParams:
        """Translate validated parameters, in this model's own words.

        They may have been stored before the model had all of its optional parameters; raises KeyError for other gaps.
        """
        whole = {**self.defaults, **values}
        said = {param.field: whole[param.name] for param in self.parameters} | dict(self.fixed)
        if size := re.search(r"(\d+)x(\d+)$", said.get("aspect_ratio", "")):
            said["width"], said["height"] = int(size[1]), int(size[2])
        for side in ("width", "height"):
            if said.get(side):
                said[side] = max(MIN_SIDE, round(said[side] / MULTIPLE) * MULTIPLE)
        said["inputs"] = tuple(InputImage(said[name], role) for name, role in IMAGE_ROLES.items() if said.get(name))
        return GenerationParams(**{name: value for name, value in said.items() if name in FIELDS})

    def body(self, params: GenerationParams) -> dict[str, Any]:
        """The inverse of `parse`: a body in this model's own words that asks for these parameters.

        What the model doesn't let a caller choose is left out.
        """
        sources = {one.role: one.source for one in params.inputs}
        images = {name: sources[role] for name, role in IMAGE_ROLES.items() if role in sources}
        said = {name: getattr(params, name) for name in FIELDS} | images
        return {
            param.name: said.get(param.field, param.default)
            for param in self.parameters
            if param.field in said or param.default is not None
        }

    def _explain(self, error: ValidationError, sent: Mapping[str, Any]) -> Exception:
        """The first thing that is wrong, in our own words."""
        first = error.errors(include_url=False)[0]
        param = next(param for param in self.parameters if param.name == first["loc"][0])
        if first["type"] == "missing":
            return MissingParameter(param.name, param.allowed)
        return InvalidParameter(param.name, sent[param.name], param.allowed)


#: Draws a number below its argument, as `secrets.randbelow` does.
Draw = Callable[[int], int]


@dataclass(frozen=True)
class Parsed:
    """A body that was checked."""

    spec: ModelSpec
    params: GenerationParams
    #: Every parameter with its value, in the model's own words.
    values: dict[str, Any]
    #: Names that the model has no parameters for.
    ignored: tuple[str, ...]
    #: What its caller should know of what was made of it.
    notes: tuple[str, ...] = ()
    #: A model that starts from an image was asked for one from text: it starts from a plain one of this size, whatever
    #: the source of its init image is called here.
    canvas: Size | None = None
    #: From the init image's size, where that is known before a worker has it, to the images'; None leaves it as it is.
    size_for: Callable[[Size], Size] | None = None
    #: Where its caller wants it sent, in a body's own words for that.
    callback: Callback | None = None

    def with_seed(self, draw: Draw) -> Parsed:
        """The seed -1 is replaced by a drawn one, so that a repeated attempt makes the same images."""
        if self.params.seed != -1:
            return self
        seed = draw(DRAWN_SEEDS)
        return replace(self, params=replace(self.params, seed=seed), values=self.values | {"seed": seed})

    def with_source(self, source: str, role: Role = "init") -> Parsed:
        """The input image of this role comes from another place."""
        named = {param.name: source for param in self.spec.parameters if IMAGE_ROLES.get(param.field) == role}
        return replace(self, params=self.params.from_source(source, role), values=self.values | named)

    def with_size(self, size: Size) -> Parsed:
        """The images have this size in pixels, whatever the init image's is: it is brought to it (`params.fit`).

        Raises InvalidParameter for a side that the model doesn't allow.
        """
        width, height = size
        sides = {"width": width, "height": height}
        named = {one.name: sides[one.field] for one in self.spec.parameters if one.field in sides}
        for name, side in named.items():
            self.spec.check(name, side)
        return replace(self, params=replace(self.params, width=width, height=height), values=self.values | named)


Per = Literal["picture", "second"]


@dataclass(frozen=True)
class Tariff:
    """A price in micro-dollars."""

    price: int
    #: Whether for each image or for each second of the model's work, in which loading its weights does not count.
    per: Per = "picture"
    #: Seconds per image that are held where the price is per second, and never exceeded.
    most_seconds: float = 60.0

    def max_price(self, images: int) -> int:
        """What is held for a request, in micro-dollars."""
        return self.price * images if self.per == "picture" else ceil(self.price * self.most_seconds * images)

    @property
    def rate(self) -> int | None:
        """Micro-dollars per second; None where the price is per image."""
        return self.price if self.per == "second" else None


#: What a model is asked for: an image from text, or from another image.
Purpose = Literal["generate", "edit"]


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of models: the slug of the one for each purpose."""

    generate: str
    edit: str

    def of(self, purpose: Purpose) -> str:
        """The slug for a purpose."""
        return self.edit if purpose == "edit" else self.generate

    @property
    def slugs(self) -> tuple[str, str]:
        """Of the one for text, then of the one for an image."""
        return self.generate, self.edit


class Catalogue(dict[str, ModelSpec]):
    """The entries by slug, in the order in which models are listed; it is never changed."""

    def __init__(
        self,
        specs: Iterable[ModelSpec],
        unserved: Mapping[str, str] | None = None,
        aliases: Mapping[str, Alias] | None = None,
    ) -> None:
        """unserved: why other models that there are aren't in it, by slug.

        aliases: what callers of APIs other than the vendor's may call its models.
        """
        super().__init__((spec.slug, spec) for spec in specs)
        self.unserved = unserved or {}
        self.aliases = aliases or {}

    def find(self, slug: str) -> ModelSpec:
        """The entry of a slug that a caller named; raises ModelUnknown, with why, or with those that there are."""
        try:
            return self[slug]
        except KeyError:
            if slug in self.unserved:
                raise NotServed(f"{slug} {self.unserved[slug]}") from None
            raise ModelUnknown(f"Model {slug[:SENT_LENGTH]} not found; the models are {', '.join(self)}") from None

    def named(self, name: str, purpose: Purpose) -> ModelSpec:
        """The entry of a slug or an alias that a caller named, for what it is asked for; raises as `find` does."""
        if name in self.aliases:
            return self.find(self.aliases[name].of(purpose))
        if name in self or name in self.unserved:
            return self.find(name)
        known = ", ".join((*self, *self.aliases))
        raise ModelUnknown(
            f"Model {name[:SENT_LENGTH]} not found; the models are {known}; the operator can make this name an alias"
        )
