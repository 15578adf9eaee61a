"""Calls of code that is not ours: what it raises ends its own work alone, what it sets in the process is undone.

Beyond that a plug-in has all rights of the process: what ends it from compiled code ends the command. A thread that it
leaves running is waited for at the end; of a fork the child ends when the call returns.
"""

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from bench.errors import BenchError, PluginError, StoppedError
from bench.system.text import describe_error

OURS = ("bench.methods.", "bench.datasets.")  # modules of `bench` that are plug-ins themselves
TORCH_SETTINGS = (
    ("get_default_dtype", "set_default_dtype"),
    ("get_default_device", "set_default_device"),
    ("is_grad_enabled", "set_grad_enabled"),
    ("get_num_threads", "set_num_threads"),
    ("get_float32_matmul_precision", "set_float32_matmul_precision"),
    ("are_deterministic_algorithms_enabled", "use_deterministic_algorithms"),
)


@dataclass(frozen=True)
class Foreign:
    """A function of a plug-in, called under guard: it raises PluginError for whatever the function raises.

    Errors of ours pass, and so do those of `passes` and the stop or interruption that a person or scheduler asked for.
    """

    said: str  # begins the message, which what was raised ends
    function: Callable[..., Any]
    passes: tuple[type[BaseException], ...] = ()
    often: bool = False  # called at every step, where a millisecond counts: the harness's names are left to who calls

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Call the function."""
        process = os.getpid()
        with keep_settings(names=not self.often):
            try:
                return self.function(*values, **named)
            except BaseException as error:
                stop = isinstance(error, (KeyboardInterrupt, StoppedError)) and _raised_by_us(error)
                if stop or isinstance(error, (BenchError, *self.passes)):
                    raise
                raise PluginError(f"{self.said} {describe_error(error)}") from error
            finally:
                if os.getpid() != process:  # the child of a fork, which would go on with the run as its parent does
                    os._exit(1)


@contextmanager
def keep_settings(*, names: bool = True) -> Iterator[None]:
    """Restore in the end what all share: folder, environment, streams, NumPy, PyTorch, and the harness's own names.

    Within it `os._exit` raises SystemExit, but for processes begun within it.
    """
    folder, environment = os.getcwd(), dict(os.environ)
    streams, depth = (sys.stdin, sys.stdout, sys.stderr), sys.getrecursionlimit()
    process, leave = os.getpid(), os._exit

    def leave_as_child(code: int) -> None:
        if os.getpid() == process:
            raise SystemExit(f"os._exit({code})")
        leave(code)

    before = _torch_settings()  # of an import that brings PyTorch itself nothing is known
    ours = _our_modules() if names else []
    with np.errstate():
        try:
            os._exit = leave_as_child  # type: ignore[assignment]
            yield
        finally:
            os._exit = leave
            sys.stdin, sys.stdout, sys.stderr = streams
            for module, meant in ours:
                for name, value in meant.items():
                    if module.get(name) is not value:
                        module[name] = value
            with suppress(OSError):  # where it was removed there is no way back
                os.chdir(folder)
            if dict(os.environ) != environment:
                for name in os.environ.keys() - environment.keys():
                    del os.environ[name]
                os.environ.update(environment)
            if sys.getrecursionlimit() != depth:
                sys.setrecursionlimit(depth)
            for name, value in _torch_settings().items():
                if name in before and before[name] != value:
                    getattr(sys.modules["torch"], dict(TORCH_SETTINGS)[name])(before[name])


@contextmanager
def keep_random_state() -> Iterator[None]:
    """Restore in the end the global generators of PyTorch (of the CPU), NumPy and Python."""
    import torch  # here, since much of this room is used without it

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _our_modules() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The names of every module of the harness, and what each stands for now: nobody else may replace a metric."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("bench.")]
    return [(vars(module), dict(vars(module))) for module in modules if module is not None]


def _torch_settings() -> dict[str, Any]:
    """What PyTorch has set, by the name of the function that says it; nothing before it is imported."""
    torch: ModuleType | None = sys.modules.get("torch")
    if torch is None or not hasattr(torch, TORCH_SETTINGS[-1][0]):  # half of it is there while it is imported
        return {}
    return {getter: getattr(torch, getter)() for getter, _ in TORCH_SETTINGS}


def _raised_by_us(error: BaseException) -> bool:
    """Return whether an error began in the harness, as that of a signal's handler does wherever the signal arrives."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.startswith("bench.") and not module.startswith(OURS)
