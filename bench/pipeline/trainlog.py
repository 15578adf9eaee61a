"""The values a stage logs while it trains: train.csv in the run's folder, and TensorBoard where it is installed."""

import csv
import io
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.runs.folder import RunFolder
from bench.system.files import write_text


class TrainLog:
    """train.csv, and TensorBoard where it is installed. Rows after the step a run resumes at are written anew.

    With `writes` False, of all processes but the first, nothing is.
    """

    def __init__(self, folder: RunFolder, stage: str, every: int, *, writes: bool = True) -> None:
        self.path, self.stage, self.every = folder.train_csv, stage, every
        self.rows: list[tuple[str, str, str, str]] = []
        self.writes = writes
        self.board = _tensorboard(folder) if writes else None

    def start_at(self, step: int) -> None:
        if self.path.exists():
            with self.path.open(newline="") as file:
                rows = [(r[0], r[1], r[2], r[3]) for r in list(csv.reader(file))[1:] if len(r) == 4]
            self.rows = [row for row in rows if row[0] != self.stage or int(row[1]) <= step]

    def write(self, step: int, numbers: dict[str, float]) -> dict[str, float]:
        """Keep the numbers of one step. Raises BenchError when the loss is not finite."""
        if not np.isfinite(numbers.get("loss", 0.0)):
            raise BenchError(f"the loss of stage {self.stage} is not finite at step {step}; lower its learning rate")
        for name, value in numbers.items():
            self.rows.append((self.stage, str(step), name, f"{value:.6g}"))
            if self.board is not None:
                self.board.add_scalar(f"{self.stage}/{name}", value, step)
        return numbers

    def flush(self) -> None:
        """Write all rows so far to the file."""
        if not self.writes:
            return
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([("stage", "step", "name", "value"), *self.rows])
        write_text(self.path, buffer.getvalue())
        if self.board is not None:
            self.board.flush()


def _tensorboard(folder: RunFolder) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder.root / "tensorboard"))
