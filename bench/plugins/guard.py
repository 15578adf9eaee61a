"""A plug-in's method as the harness calls it: built, trained and asked under guard, and what it says of itself checked.

What comes with the harness is built as it is, so that an error of its own stays one of ours.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from bench.card import Loop, MethodPlugin, Settings
from bench.dataset import DatasetCard
from bench.errors import BenchError, PluginError
from bench.method import FittedStage, Likelihood, Method, Stage
from bench.plugins.config import PLAIN_NAME
from bench.system.foreign import Foreign
from bench.system.text import Line, plain_line

METHOD_PARTS = ("reconstruct", "log_likelihood", "renders", "reconstruct_truth")
STAGE_PARTS = (
    *("prepare", "batches", "optimizers", "step", "rate", "validation_loss", "recomputable", "state", "load_state"),
    *("fit", "recall"),
)
OFTEN = ("step", "rate")  # parts of a stage that are called at every step
SECONDS = TypeAdapter(dict[Line, Annotated[float, Field(ge=0, allow_inf_nan=False)]])


def build_method(plugin: MethodPlugin, settings: Settings, data: DatasetCard) -> Method:
    """Return a method with its networks, all calls of which are under guard unless it comes with the harness.

    Raises PluginError for what a plug-in raises, and for a remark that is no text; a method raises UsageError where
    the data's sizes do not fit it.
    """
    method_class = plugin.load()
    if plugin.builtin:
        return method_class(settings, data)
    name = plugin.card.name
    method: Method = Foreign(f"{name}, as it was built, raised", _build)(method_class, settings, data)
    _guard(method, METHOD_PARTS, name)
    stages, seconds = method.stages, method.seconds_by_part
    object.__setattr__(method, "stages", Foreign(f"{name} raised", lambda: _guard_stages(stages(), name)))
    object.__setattr__(method, "seconds_by_part", Foreign(f"{name} raised", lambda: _check_seconds(seconds(), name)))
    return method


def check_tensor(value: Any, names: Sequence[str], shape: Sequence[int], said: str) -> Tensor:
    """Return what a method gave of some cases, each of a shape, as float32 on the CPU.

    Raises BenchError that begins with `said` unless it is a dense tensor of finite real numbers of that shape, which
    needs no gradient.
    """
    expected = (len(names), *shape)
    if not isinstance(value, Tensor):
        raise BenchError(f"{said} {type(value).__name__}, not a tensor")
    if tuple(value.shape) != expected:
        raise BenchError(f"{said} a tensor of shape {tuple(value.shape)}, not {expected}")
    if not value.is_floating_point() or value.layout != torch.strided or value.is_meta:
        kind = f"{value.dtype}, {value.layout}, on {value.device}".replace("torch.", "")
        raise BenchError(f"{said} a tensor of {kind}; dense floating-point numbers are needed")
    if value.requires_grad:
        raise BenchError(f"{said} a tensor that requires gradients; detach it")
    numbers = value.float().cpu()
    for name, one in zip(names, numbers, strict=True):
        if not torch.isfinite(one).all():
            raise BenchError(f"{said} NaN or infinity for {name}")
    return numbers


def check_likelihood(value: Any, names: Sequence[str], said: str) -> Likelihood:
    """Return a bound whose parts hold a number a case. Raises BenchError that begins with `said` for any other."""
    if not isinstance(value, Likelihood):
        raise BenchError(f"{said} {type(value).__name__}, not a Likelihood")
    counts = (value.voxels, value.codes)
    if not all(isinstance(count, int) and count >= least for count, least in zip(counts, (1, 0), strict=True)):
        raise BenchError(
            f"{said} {value.voxels!r} voxels and {value.codes!r} codes; both are counts, the first above 0"
        )
    error = value.codes_standard_error
    for part in (value.volume_given_codes, value.codes_given_views, *(() if error is None else (error,))):
        if (check_tensor(part, names, (), said) < 0).any():
            raise BenchError(f"{said} nats below 0; probabilities of bins and codes are never above one")
    return value


def _build(method_class: type[Method], settings: Settings, data: DatasetCard) -> Method:
    method = method_class(settings, data)
    if not isinstance(method.remark, str):
        raise PluginError(f"{method.card.name} has a remark that is {type(method.remark).__name__}, not text")
    return method


def _guard(part: Any, names: Sequence[str], whose: str, passes: tuple[type[BaseException], ...] = ()) -> None:
    """Put the functions of one object under guard; on the object, since its class is the user's."""
    for name in names:
        if hasattr(part, name):
            guarded = Foreign(f"{whose} raised", getattr(part, name), passes, often=name in OFTEN)
            object.__setattr__(part, name, guarded)


def _guard_stages(stages: Any, whose: str) -> list[Stage | FittedStage]:
    """Return the stages of a method, under guard. Raises PluginError for what is none and for names of no file."""
    found = list(stages)
    for stage in found:
        if not isinstance(stage, (Stage, FittedStage)):
            raise PluginError(f"{whose} has a stage that is {type(stage).__name__}, neither Stage nor FittedStage")
        if not isinstance(stage.name, str) or not PLAIN_NAME.fullmatch(stage.name):
            raise PluginError(
                f"{whose} has a stage called {plain_line(str(stage.name), 100)!r}, which can name no file"
            )
        networks = getattr(stage, "networks", None)
        if not isinstance(networks, dict) or not all(isinstance(net, nn.Module) for net in networks.values()):
            raise PluginError(f"stage {stage.name} of {whose} lacks networks, a dict of modules by name")
        if isinstance(stage, Stage) and not isinstance(getattr(stage, "loop", None), Loop):
            raise PluginError(f"stage {stage.name} of {whose} lacks loop, a bench.card.Loop")
        if not any(isinstance(value, Foreign) for value in vars(stage).values()):  # in an earlier call
            _guard(stage, STAGE_PARTS, whose, (torch.OutOfMemoryError,))  # which the loop answers with smaller batches
    if len({stage.name for stage in found}) < len(found):
        raise PluginError(f"{whose} has two stages of one name")
    return found


def _check_seconds(seconds: Any, whose: str) -> dict[str, float]:
    try:
        return SECONDS.validate_python(seconds)
    except ValidationError as error:
        raise PluginError(f"{whose} measured seconds by part that are no {{name: seconds}}: {seconds!r}") from error
