"""The records that cross packages: what a request asks for, what was made of it, what a worker reports.

Each is frozen, and has `to_json` and `from_json` where it is stored: these read what earlier versions wrote, ignore
keys that they don't know, and keep the keys that earlier versions read.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from tintype import __version__
from tintype.samplers import known_sampler

Json = Mapping[str, Any]
#: What an input image is for: the image to start from, the part to repaint, what guides the composition.
Role = Literal["init", "mask", "control"]
#: The parameters that hold an input image, as `ModelSpec` and bodies name them, and the role of each.
IMAGE_ROLES: Mapping[str, Role] = {"image": "init", "mask": "mask"}
#: Width and height in pixels.
Size = tuple[int, int]
#: How an input image is brought to another shape: it covers the size, and is cropped around its centre; its shape is
#: given up; or it lies within the size, and the pixels of its edges fill the rest.
Fit = Literal["cover", "stretch", "contain"]

#: The fields of `GenerationParams` that mean nothing without a refiner.
REFINED = ("refiner", "high_noise_fraction", "refiner_strength")
#: Those that the words in files alone depend on.
WORDED = ("checkpoint", "canvas")
#: Seeds are 0 to SEEDS - 1.
SEEDS = 2**63
#: Before the name of an input image that is stored until its request ends.
STORED_INPUT = "file:"
#: Before the name of a file of this server, an upload or an output.
OWN_FILE = "/files/"


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image that a request starts from."""

    #: An http(s) URL, a data URI, base64, a sample's path, the path of a file of this server, or a stored input's name.
    source: str
    role: Role = "init"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParams:
    """What a request asks for, in one vocabulary for all models. Sizes in pixels; 0 × 0 is the init image's size."""

    prompt: str = ""
    negative_prompt: str = ""
    #: At most one of each role.
    inputs: tuple[InputImage, ...] = ()
    #: Denoising steps.
    steps: int
    #: Classifier-free guidance (Ho and Salimans 2022, eq. 6 with w = guidance - 1); at most 1 means none.
    guidance: float
    #: How much of the init image is replaced, 0–1.
    strength: float = 1.0
    #: 0 to 2^63 - 1; -1 until one was drawn.
    seed: int
    #: Number of images; image i has seed + i.
    count: int = 1
    width: int = 0
    height: int = 0
    #: How the input images are brought to it.
    fit: Fit = "cover"
    sampler: str
    schedule: str = ""
    #: The file's, a name of `catalog.formats`.
    format: str = "jpeg"
    #: Of a lossy format, 10–100.
    quality: int = 95
    #: Whether a blocking answer has the images as base64.
    base64: bool = False
    #: Whether its images share no forward pass with others, so that they can be made again bit for bit.
    exact: bool = False
    #: Whether a refiner ends its images.
    refiner: bool = False
    #: The fraction of the training's time, 0–1, that the model itself draws: its first steps, in which noise is high.
    high_noise_fraction: float = 0.8
    #: How much of a finished image the refiner redraws, 0–1, where the model has drawn all of it.
    refiner_strength: float = 0.2
    #: LoRAs on top of the model's weights, as `name:strength, …` (`catalog.parameters` reads them).
    loras: str = ""
    #: What a client of A1111's API called the model, for that API's words in the files (`catalog.infotext`). Recipes
    #: have neither this nor the next.
    checkpoint: str = ""
    #: For the same words: whether the init image is a plain one that the server made, as the model needs one.
    canvas: bool = False

    @property
    def init(self) -> InputImage | None:
        """The image to start from; None for text to image."""
        return self.input("init")

    @property
    def source(self) -> str:
        """The init image's source; empty for text to image."""
        return self.init.source if self.init else ""

    def input(self, role: Role) -> InputImage | None:
        """Its input image of this role, if it has one."""
        return next((one for one in self.inputs if one.role == role), None)

    @property
    def seeds(self) -> list[int]:
        """One seed per image."""
        return [(self.seed + index) % SEEDS for index in range(self.count)]

    @property
    def steps_run(self) -> int:
        """How many of its steps are run: diffusers' schedulers leave the first ones out where strength is below 1."""
        spec = known_sampler(self.sampler)
        return spec.steps_run(self.steps, self.strength) if spec else self.steps

    @property
    def has_negative(self) -> bool:
        """Whether the negative prompt has an effect; samplers of other packages may use it in any case."""
        spec = known_sampler(self.sampler)
        return self.guidance > 1 or (spec is not None and (spec.needs_unconditional or spec.guidance_factor > 1))

    def from_source(self, source: str, role: Role = "init") -> GenerationParams:
        """The same with its image of this role from another place."""
        changed = tuple(InputImage(source, role) if one.role == role else one for one in self.inputs)
        return replace(self, inputs=changed if self.input(role) else (*changed, InputImage(source, role)))

    def pixels(self, width: int, height: int) -> int:
        """Pixels of all its images together, each of this size."""
        return self.count * width * height

    def to_json(self) -> dict[str, Any]:
        """The fields by name; the init image's source as `image`, as earlier versions wrote and read it.

        Some only where they mean something, as earlier versions refuse recipes with fields that they don't know: those
        of a refiner, how images are fitted, and what words in files depend on.
        """
        said = _values(self)
        further = [{"source": one.source, "role": one.role} for one in said.pop("inputs") if one.role != "init"]
        first = {name: said.pop(name) for name in ("prompt", "negative_prompt")}
        first["image"] = self.source
        if not self.refiner:
            for name in REFINED:
                said.pop(name)
        if self.fit == "cover":
            said.pop("fit")
        if not self.checkpoint:
            for name in WORDED:
                said.pop(name)
        return {**first, **said, **({"inputs": further} if further else {})}

    @classmethod
    def from_json(cls, said: Json) -> GenerationParams:
        """Raises TypeError where a field without a default is missing."""
        inputs = [InputImage(said["image"])] if said.get("image") else []
        inputs += [InputImage(one["source"], one["role"]) for one in said.get("inputs", ())]
        return cls(**{**_known(cls, said), "inputs": tuple(inputs)})


@dataclass(frozen=True, slots=True)
class Callback:
    """Where the caller of a request wants it sent, as a prediction, and when."""

    url: str
    #: Of `start`, `output`, `logs`, `completed`.
    events: tuple[str, ...]
    #: Of its model, as a prediction names it.
    version: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: Json) -> Callback:
        return cls(**{**_known(cls, said), "events": tuple(said["events"])})


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One image to make: a request for several is several of these, their seeds one apart."""

    params: GenerationParams
    #: Of the image's own CPU generator.
    seed: int
    #: Size in pixels at which the weights draw it, a multiple of 16.
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one image was made: all that is needed to make it again. It is stored in the image's own file."""

    #: The model's slug.
    model: str
    #: For this image alone. A caller's own init image is left out; a sample's path is not.
    params: GenerationParams
    #: Fingerprint of the weights.
    weights: str
    #: float32 or bfloat16.
    dtype: str
    #: Tokens of T5's text, which are part of the model.
    t5_tokens: int
    #: SHA-256 of the decoded init image; empty for text to image.
    source: str
    #: SHA-256 of the decoded mask; empty without one, and then not written: earlier versions refuse unknown fields.
    mask: str = ""
    #: The number of the watermark in its pixels, in hex; the same holds of one without.
    mark: str = ""
    version: str = __version__

    @property
    def digests(self) -> Mapping[Role, str]:
        """SHA-256 of each decoded input image."""
        every: Mapping[Role, str] = {"init": self.source, "mask": self.mask}
        return {role: digest for role, digest in every.items() if digest}

    def of(self, seed: int) -> Recipe:
        """The recipe of the request's image with this seed, without a watermark."""
        return replace(self, params=replace(self.params, seed=seed), mark="")

    def to_json(self) -> dict[str, Any]:
        """As it is written into files and answers."""
        said = _values(self)
        for name in ("mask", "mark"):
            if not said[name]:
                del said[name]
        return {"model": said.pop("model"), "order": said.pop("params").to_json(), **said}

    @classmethod
    def from_json(cls, said: Json) -> Recipe:
        """Raises TypeError and KeyError for what is none."""
        return cls(**{**_known(cls, said), "params": GenerationParams.from_json(said["order"])})


#: Bytes of a watermark's number that say whose it is: what distinguishes a database's servers from others'.
TAG = 2


@dataclass(frozen=True, slots=True)
class Credential:
    """What signs the manifests of images: certificates and a key, in PEM."""

    #: Whose word is taken for the leaf: its root, or, of a certificate from elsewhere, itself.
    root: str
    #: The certificates that files carry, the leaf first.
    chain: str
    #: The leaf's private key (PKCS#8).
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """A file that was made."""

    name: str
    #: Bytes.
    size: int
    #: Pixels; 0 where an earlier version didn't write them.
    width: int
    height: int
    seed: int

    @classmethod
    def from_json(cls, said: Json) -> Output:
        return cls(**{"width": 0, "height": 0, **_known(cls, said)})


@dataclass(frozen=True, slots=True)
class LoggedFile:
    """What of a file that was made goes into the log of images."""

    #: SHA-256 of its bytes.
    digest: bytes
    #: Six bytes, of its watermark; None without one.
    number: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was made of a request."""

    outputs: tuple[Output, ...]
    format: str
    #: Of the first image.
    seed: int
    #: Seconds of the model's work, from the text's encoding to the last file.
    inference_time: float
    #: Seconds spent on loading weights for it; not part of `inference_time`.
    cold_start: float = 0.0
    #: What the caller should know of the images.
    warnings: tuple[str, ...] = ()
    #: None where there is nothing to make again: a test key's.
    recipe: Recipe | None = None
    #: What is said of the weights where they are the built-in ones.
    weights: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "pictures": [asdict(one) for one in self.outputs],
            "format": self.format,
            "seed": self.seed,
            "recipe": None if self.recipe is None else self.recipe.to_json(),
            "inference_time": self.inference_time,
            **({"warnings": [*self.warnings]} if self.warnings else {}),
            **({"weights": self.weights} if self.weights else {}),
            **({"cold_start": self.cold_start} if self.cold_start else {}),
        }

    @classmethod
    def from_json(cls, said: Json) -> Result:
        """Without its recipe, where that is none that this version can read."""
        known = _known(cls, said)
        known["outputs"] = tuple(map(Output.from_json, said.get("pictures", ())))
        known["warnings"] = tuple(said.get("warnings", ()))
        known["recipe"] = None
        if said.get("recipe"):
            with suppress(TypeError, KeyError):  # one that lacks something must not keep the files from their caller
                known["recipe"] = Recipe.from_json(said["recipe"])
        return cls(**known)


@dataclass(frozen=True, slots=True)
class RunningImages:
    """A request that a worker runs, as it reports it."""

    request_id: str
    model: str
    count: int
    step: int
    steps: int

    def to_json(self) -> dict[str, Any]:
        return {"pictures" if name == "count" else name: value for name, value in _values(self).items()}

    @classmethod
    def from_json(cls, said: Json) -> RunningImages:
        return cls(**{**_known(cls, said), "count": said["pictures"]})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """What a worker says of itself at each heartbeat, next to its counts."""

    running: tuple[RunningImages, ...] = ()
    #: Slugs of the models that were asked for here.
    models: tuple[str, ...] = ()
    #: Bytes by kind: of the process, of the weights, the budget of both, and what the device's allocator says.
    memory: Mapping[str, int] = field(default_factory=dict)
    #: Rows per forward pass, and seconds of one, since the last report with a new pass; None before the first.
    rows: float | None = None
    step_seconds: float | None = None
    #: Why it takes no requests, although it was not told to stop: what its storage answers.
    storage: str | None = None

    def to_json(self) -> dict[str, Any]:
        rates = {} if self.rows is None else {"rows": self.rows, "step_seconds": self.step_seconds}
        return {
            "tasks": [one.to_json() for one in self.running],
            "models": [*self.models],
            "memory": dict(self.memory),
            "lately": rates,
            **({"storage": self.storage} if self.storage else {}),
        }

    @classmethod
    def from_json(cls, said: Json | None) -> WorkerReport:
        """An empty report where there is none yet."""
        said = said or {}
        return cls(
            running=tuple(map(RunningImages.from_json, said.get("tasks", ()))),
            models=tuple(said.get("models", ())),
            memory=said.get("memory", {}),
            rows=said.get("lately", {}).get("rows"),
            step_seconds=said.get("lately", {}).get("step_seconds"),
            storage=said.get("storage"),
        )


def _values(record: Any) -> dict[str, Any]:
    """Its fields by name, nested records as they are."""
    return {one.name: getattr(record, one.name) for one in fields(record)}


def _known(cls: type[Any], said: Json) -> dict[str, Any]:
    """What of a stored record this version has fields for."""
    names = cls.__dataclass_fields__  # `fields` would make a tuple each time
    return {name: value for name, value in said.items() if name in names}
