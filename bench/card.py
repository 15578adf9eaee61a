"""What is known of a method without building it, and without PyTorch: its card, its settings, how its loop runs."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Capability = Literal["volume", "mip", "likelihood", "oracle"]


class Settings(BaseModel):
    """Base of all configuration: unknown keys are refused, values are checked and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Loop(Settings):
    """How the training loop drives one stage."""

    steps: NonNegativeInt = 100_000
    batch_size: PositiveInt = 8
    accumulate: PositiveInt = 1  # parts in which a batch is taken, to save memory; its optimisers step once
    checkpoint_activations: bool = False  # compute activations again on the way back instead of keeping them
    gradient_clip: PositiveFloat | None = None  # largest gradient norm of an optimiser's parameters
    average_decay: float | None = None  # exponential moving average of the networks in `Stage.averaged`
    average_every: PositiveInt = 1  # steps between two updates of that average
    validate_every: NonNegativeInt = 0  # steps between validations; 0 = never
    keep: Literal["last", "best"] = "last"  # best: the weights of the lowest validation loss
    checkpoint_every: PositiveInt = 1000  # steps between two checkpoints; one is also written every few minutes

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.average_decay is not None and 0 < self.steps < self.average_every:
            raise ValueError(f"{self.steps} steps end before the first update of the average at {self.average_every}")
        if self.accumulate > self.batch_size:
            raise ValueError(f"a batch of {self.batch_size} cannot be taken in {self.accumulate} parts")
        return self

    @model_serializer(mode="wrap")
    def _named(self, standard: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what only saves memory and is not used, so that runs keep the names they had before there was it."""
        unused = {"accumulate": 1, "checkpoint_activations": False}
        return {key: value for key, value in standard(self).items() if (key, value) not in unused.items()}


@dataclass(frozen=True)
class MethodCard:
    """Who made a method and what it can do."""

    name: str
    title: str
    paper: str
    year: int
    bibtex: str
    licence_of_original: str
    capabilities: frozenset[Capability]
    deviations: tuple[str, ...] = ()  # where this code knowingly differs from the published one, and why
    kind: Literal["method", "floor", "ceiling"] = "method"  # floors and ceilings are shown apart and never ranked
    deterministic: bool = False  # nothing of it depends on a seed, so it has no pretrained weights and one result
