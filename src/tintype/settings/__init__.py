"""All settings, and how they are found by name. Only the CLI reads them from `TINTYPE_…` and from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from tintype.settings.groups import (
    AccountSettings,
    BillingSettings,
    DatabaseSettings,
    FleetSettings,
    Group,
    InputSettings,
    LimitSettings,
    MemorySettings,
    ModelSettings,
    ProvenanceSettings,
    QueueSettings,
    RetentionSettings,
    SafetySettings,
    StorageSettings,
    TelemetrySettings,
    WebhookSettings,
    WebSettings,
    WorkerSettings,
)
from tintype.settings.values import AllowedValues, Env, FromFile, Unit, allowed_values, comments, marked


class Settings(Group):
    """What an operator can set. Only `tintype.cli` reads the environment and files; all other code receives this."""

    #: The folder of the database and of images.
    data: Annotated[Path, BeforeValidator(lambda path: path or "data"), AllowedValues("a path")] = Path("data")
    web: WebSettings = WebSettings()
    database: DatabaseSettings = DatabaseSettings()
    storage: StorageSettings = StorageSettings()
    accounts: AccountSettings = AccountSettings()
    billing: BillingSettings = BillingSettings()
    limits: LimitSettings = LimitSettings()
    inputs: InputSettings = InputSettings()
    retention: RetentionSettings = RetentionSettings()
    queue: QueueSettings = QueueSettings()
    worker: WorkerSettings = WorkerSettings()
    models: ModelSettings = ModelSettings()
    memory: MemorySettings = MemorySettings()
    safety: SafetySettings = SafetySettings()
    provenance: ProvenanceSettings = ProvenanceSettings()
    webhooks: WebhookSettings = WebhookSettings()
    fleet: FleetSettings = FleetSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    def of(cls, **flat: object) -> Self:
        """From names as the environment has them, in small letters: `Settings.of(port=80, lease=3)`.

        Raises ValidationError, and ValueError for a name that is none or a setting under two names.
        """
        return cls.model_validate(tables(flat))

    def replace(self, **flat: object) -> Self:
        """A copy with some of them changed; raises the same."""
        given = {setting.flat: setting.value(self) for setting in SETTINGS}
        return self.of(**given | {find(name).flat: value for name, value in flat.items()})

    def get(self, flat: str) -> Any:
        """The value of the setting of this name; raises ValueError."""
        return find(flat).value(self)

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL in use."""
        return self.database.url or f"sqlite:///{(self.data / 'tintype.db').absolute()}"

    @property
    def safety_folder(self) -> Path | None:
        """The folder of Stable Diffusion's own safety checker, if any."""
        folders = [self.safety.weights] if self.safety.weights else [*self.models.weights.values()]
        return next((folder for folder in folders if (folder / "safety_checker").is_dir()), None)

    @property
    def pulled_folder(self) -> Path:
        """Pulled weights."""
        return self.models.folder or self.data / "models"

    @property
    def models_file(self) -> Path | None:
        """The models file, or None where none is named and the default one doesn't exist."""
        default = self.data / "models.toml"
        return self.models.file or (default if default.is_file() else None)

    @property
    def outputs_folder(self) -> Path:
        """Finished images."""
        return self.data / "outputs"

    @property
    def prepared_folder(self) -> Path:
        """The compiler's cache, for the next start."""
        return self.data / "prepared"

    @property
    def inputs_folder(self) -> Path:
        """Input images from bodies."""
        return self.data / "inputs"

    @property
    def assets_folder(self) -> Path:
        """Uploaded images."""
        return self.data / "assets"


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting: where it is, what it is called, what it may be, and why."""

    #: The class that it is a field of, and that class's name in Settings: empty for the data folder, in no group.
    model: type[Group]
    group: str
    field: str
    info: FieldInfo
    #: As the environment has it, without TINTYPE_; and the name of earlier versions, or an empty text.
    name: str
    older: str

    def __str__(self) -> str:
        return f"{self.group}.{self.field}" if self.group else self.field

    @property
    def flat(self) -> str:
        """The name for `Settings.of`."""
        return self.name.lower()

    @property
    def from_file(self) -> FromFile | None:
        """Whether it is a secret, or belongs to one."""
        return marked(self.info, FromFile)

    @property
    def hidden(self) -> bool:
        """Whether its value must not be shown."""
        return self.from_file is not None and self.from_file.hidden

    @property
    def variables(self) -> tuple[str, ...]:
        """Its names in the environment, without TINTYPE_."""
        return tuple(filter(None, (self.name, self.older, f"{self.name}_FILE" if self.from_file else "")))

    @property
    def unit(self) -> str:
        """What its number counts: `seconds`, `bytes`, or an empty text."""
        unit = marked(self.info, Unit)
        return unit.name if unit else ""

    @property
    def default(self) -> Any:
        """What it is where it isn't set."""
        return self.info.default

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        return allowed_values(self.info)

    @property
    def about(self) -> str:
        """Its comment: what it does, and why."""
        return comments(self.model)[self.field]

    def value(self, settings: Settings) -> Any:
        """What it is set to."""
        return getattr(getattr(settings, self.group) if self.group else settings, self.field)


def _settings_of(group: str, model: type[Group]) -> Iterator[Setting]:
    for field, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, Group):
            yield from _settings_of(field, inner)
        else:
            env = marked(info, Env) or Env(f"{model.prefix}{field.upper()}")
            yield Setting(model, group, field, info, env.name, env.older)


GROUPS: dict[str, type[Group]] = {
    name: info.annotation
    for name, info in Settings.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Group)
}
SETTINGS: tuple[Setting, ...] = tuple(_settings_of("", Settings))
BY_NAME = {name.lower(): setting for setting in SETTINGS for name in (setting.name, setting.older) if name}
#: What settings have in common in the environment; and, after it, the name of the settings file.
PREFIX = "TINTYPE_"
CONFIG = "CONFIG"
#: All names in the environment, older ones included, without TINTYPE_.
VARIABLES: dict[str, Setting] = {name: setting for setting in SETTINGS for name in setting.variables}


def find(flat: str) -> Setting:
    """The setting of this name, in small letters; raises ValueError."""
    if flat not in BY_NAME:
        raise ValueError(f"{flat} is no setting")
    return BY_NAME[flat]


def of_location(path: Sequence[str | int]) -> Setting:
    """The setting that a ValidationError is about."""
    return next(one for one in SETTINGS if str(one) in (str(path[0]), ".".join(map(str, path[:2]))))


def tables(flat: Mapping[str, object]) -> dict[str, Any]:
    """Flat names and their values → tables as the class has them; raises ValueError."""
    given: dict[Setting, str] = {}
    found: dict[str, Any] = {}
    for name, value in flat.items():
        setting = find(name)
        if setting in given and flat[given[setting]] != value:
            raise ValueError(f"{given[setting]} and {name} are one setting, and have different values: set one of them")
        given[setting] = name
        place = found.setdefault(setting.group, {}) if setting.group else found
        place[setting.field] = value
    return found


def overlaid(environment: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The environment with other settings in it, by variable: each replaces all names of its setting."""
    replaced = {_setting(name) for name in settings} - {None}
    kept = {name: value for name, value in environment.items() if _setting(name) not in replaced}
    return kept | dict(settings)


def _setting(variable: str) -> Setting | None:
    """The setting that a variable of the environment is for; their case doesn't matter."""
    name = variable.upper()
    return VARIABLES.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
