"""What is known of a method without its networks and without PyTorch: card, settings, and where its class stands.

A built-in method lists its own in methods/NAME/card.py, which imports no networks:
  METHODS = (MethodPlugin(CARD, Config, f"{__package__}.method:Class", PRESETS),)
An installed package offers a MethodPlugin, or the class itself, as an entry point of the group `bench.methods`.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from bench.errors import PluginError
from bench.system.files import sha256_of
from bench.system.foreign import Foreign
from bench.system.text import Line

Capability = Literal["volume", "mip", "likelihood", "oracle", "samples"]
"""What a method can give; samples: the seeds of a case decide what it reconstructs, so that several volumes differ."""


class Settings(BaseModel):
    """Base of all configuration: unknown keys are refused, values are checked and frozen; numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is meant: Python takes them for 1 and 0."""
        field = cls.model_fields[info.field_name or ""]
        if "bool" not in str(field.annotation) and field.annotation is not Any and _holds_truth_value(value):
            raise ValueError("true and false are no numbers")
        return value


IN_STEPS = "steps of training"  # said of a setting that a longer training stretches
StepCount = Annotated[NonNegativeInt, IN_STEPS]


def stretch_training(settings: Settings, factor: float, prefix: str = "") -> dict[str, Any]:
    """Return the settings that count steps of training, by key, for a training `factor` times as long."""
    stretched: dict[str, Any] = {}
    for name, described in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            stretched |= stretch_training(value, factor, f"{prefix}{name}.")
        elif IN_STEPS in described.metadata:
            several = [round(count * factor) for count in (value if isinstance(value, tuple) else (value,))]
            stretched[prefix + name] = several if isinstance(value, tuple) else several[0]
    return stretched


class Loop(Settings):
    """How the training loop drives one stage."""

    steps: StepCount = 100_000
    batch_size: PositiveInt = 8
    accumulate: PositiveInt = 1  # parts in which a batch is taken, to save memory; its optimisers step once
    checkpoint_activations: bool = False  # compute activations again on the way back instead of keeping them
    gradient_clip: PositiveFloat | None = None  # largest gradient norm of an optimiser's parameters
    average_decay: float | None = None  # exponential moving average of the networks in `Stage.averaged`
    average_every: PositiveInt = 1  # steps between two updates of that average
    validate_every: NonNegativeInt = 0  # steps between validations; 0 = never
    keep: Literal["last", "best"] = "last"  # best: the weights of the lowest validation loss
    patience: NonNegativeInt = 0  # validations without a lower loss after which training ends; 0: after `steps` alone
    checkpoint_every: PositiveInt = 1000  # steps between two checkpoints; one is also written every few minutes

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.average_decay is not None and 0 < self.steps < self.average_every:
            raise ValueError(f"{self.steps} steps end before the first update of the average at {self.average_every}")
        if self.patience and not self.validate_every:
            raise ValueError("patience counts validations; set validate_every")
        if self.accumulate > self.batch_size:
            raise ValueError(f"a batch of {self.batch_size} cannot be taken in {self.accumulate} parts")
        return self

    @model_serializer(mode="wrap")
    def _serialise(self, standard: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came later where it is not used, so that older runs keep their ids."""
        unused = {"accumulate": 1, "checkpoint_activations": False, "patience": 0}
        return {key: value for key, value in standard(self).items() if (key, value) not in unused.items()}


@dataclass(frozen=True)
class MethodCard:
    """Who made a method and what it can do."""

    name: str
    title: Line
    paper: Line
    year: int
    bibtex: str
    licence_of_original: str
    capabilities: frozenset[Capability]
    deviations: tuple[str, ...] = ()  # where this code knowingly differs from the published one, and why
    kind: Literal["method", "floor", "ceiling", "reference"] = "method"  # all but methods are shown apart, never ranked
    deterministic: bool = False
    """Nothing of it depends on a seed: it has no pretrained weights, one result, and no variance over trainings."""

    @property
    def sees_truth(self) -> bool:
        """Whether it makes its volume of the true one, not of views: a ceiling, or a reference such as a coder."""
        return self.kind in ("ceiling", "reference")


@dataclass(frozen=True)
class MethodPlugin:
    """A method as it is found: all that is known of it before `load` imports its networks."""

    card: MethodCard
    config: type[Settings]
    implementation: str | type[Any]  # "package.module:Class", or the class itself where it is imported already
    presets: Path | None = None
    """TOML file of [preset.dataset] tables of `config` values, `any` for every dataset; None: the defaults serve all.

    Tables [variant.NAME.preset] (`any`: every preset) name ablations: what they hold is laid over a preset as `--set`
    is, and `--method METHOD+NAME` runs them; `what` in [variant.NAME] says in a few words how they differ.
    """
    variant: Mapping[str, Any] = field(default_factory=dict)  # of METHOD+NAME: what it changes, by preset
    builtin: bool = False  # whether it comes with the harness; said by who finds it
    code_sha256: str | None = None  # of the bytes that were run, of a class in a file that was named

    @property
    def module(self) -> str:
        """The name of the module that the class stands in."""
        source = self.implementation
        return source.partition(":")[0] if isinstance(source, str) else source.__module__

    @property
    def file(self) -> Path:
        """The file that the class stands in. Raises PluginError where there is none."""
        try:
            spec = find_spec(self.module)
        except ImportError:  # the package that should hold it is missing
            spec = None
        if spec is None or spec.origin is None:
            raise PluginError(f"method '{self.card.name}' stands in no file: there is no module {self.module}")
        return Path(spec.origin)

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the file that the class stands in; None of a method that comes with the harness.

        It is taken once: what was loaded stays what it is when the file is edited.
        """
        return None if self.builtin else self.code_sha256 or _hash_once(self.file)

    def load(self) -> type[Any]:
        """Import the networks and return the class, a bench.method.Method that bears this card.

        Raises PluginError where the module cannot be imported or has no such class.
        """
        found = self.implementation
        if isinstance(found, str):
            find = Foreign(f"method '{self.card.name}' cannot be imported:", _import_value)
            found = find(self.module, found.partition(":")[2])
        if getattr(found, "card", None) == self.card:
            return found
        attributes = {"__module__": found.__module__, "__doc__": found.__doc__, "card": self.card}
        return type(found.__name__, (found,), attributes)  # of a variant


def _holds_truth_value(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, (list, tuple)) and any(map(_holds_truth_value, value)))


def _import_value(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


@cache
def _hash_once(path: Path) -> str:
    return sha256_of(path)
