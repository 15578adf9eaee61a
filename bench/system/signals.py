"""What a scheduler's warning does outside the training loop: it ends the command at once, as a file stays whole.

So does Ctrl-C. Both raise in a function of this module, which tells them from what a plug-in raises.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from os import _exit  # as it is, whatever a plug-in is given in its place
from types import FrameType
from typing import Any

from bench.errors import StoppedError

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # what schedulers send some time before they kill
INTERRUPTED = 130  # exit code after Ctrl-C
LATER = 0.05  # seconds until a lost stop is repeated: finalisers are short


@contextmanager
def stopped_by_warnings() -> Iterator[None]:
    """Within it a warning raises StoppedError; the training loop lays its own, later stop over that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[int, Any] = {number: signal.signal(number, _stop) for number in WARNINGS}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as in the background
        previous[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    unraisable = sys.unraisablehook
    sys.unraisablehook = partial(_repeat, unraisable)
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        for number, handler in previous.items():
            if signal.getsignal(number) is not _end_at_once:
                signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once: a second one must not disturb what is tidied up
    raise StoppedError(f"stopped by {signal.Signals(number).name}; run again to go on")


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _end_at_once)  # stays, as the process is about to end
    raise KeyboardInterrupt


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End without tidying up: every file is whole at any moment."""
    try:
        end_workers()
    finally:
        _exit(INTERRUPTED)


def end_workers() -> None:
    """Kill the processes started by this one's `multiprocessing`, whatever they are at: starting, at work or idle.

    To tell them would not do: a worker hears only once it has started, which takes long where many compute.
    """
    for worker in multiprocessing.active_children():
        if worker.pid:  # those of joblib lack kill()
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Within it Ctrl-C waits, and processes that are started never receive it: who started them ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []  # another thread, as of a library, may receive it though this one blocks it
    handler = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if waiting:
            signal.raise_signal(signal.SIGINT)


def _repeat(otherwise: Callable[[Any], Any], unraisable: Any) -> None:
    """Stop again when a finaliser was interrupted: Python drops what is raised within one."""
    if not isinstance(unraisable.exc_value, StoppedError):
        otherwise(unraisable)
        return
    signal.signal(signal.SIGTERM, _stop)
    timer = threading.Timer(LATER, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
