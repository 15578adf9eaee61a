"""What a scheduler's warning does outside the training loop: it ends the command at once, as a file stays whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bench.errors import StoppedError

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # what schedulers send some time before they kill


@contextmanager
def stopped_by_warnings() -> Iterator[None]:
    """Within it a warning raises StoppedError; the training loop lays its own, later stop over that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, _stop) for number in WARNINGS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once: a second one must not disturb what is tidied up
    raise StoppedError(f"stopped by {signal.Signals(number).name}; run again to go on")
