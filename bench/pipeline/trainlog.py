"""The values a stage logs while it trains: train.csv in the run's folder, and TensorBoard where it is installed."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.runs.folder import RunFolder
from bench.system.csv_files import read_rows, write_rows


@dataclass(frozen=True)
class TrainRow:
    """One value that a stage logged."""

    stage: str
    step: int
    name: str
    value: str  # six digits


class TrainLog:
    """train.csv, and TensorBoard where it is installed. Rows after the step a run resumes at are written anew.

    With `writes` False, of all processes but the first, nothing is.
    """

    def __init__(self, folder: RunFolder, stage: str, every: int, *, writes: bool = True) -> None:
        self.path, self.stage, self.every = folder.train_csv, stage, every
        self.rows: list[TrainRow] = []
        self.writes = writes
        self.board = _tensorboard(folder) if writes else None

    def start_at(self, step: int) -> None:
        """Take up what is logged already, but for this stage after a step. What is damaged is logged anew."""
        with suppress(BenchError):
            rows = read_rows(self.path, TrainRow)
            self.rows = [row for row in rows if row.stage != self.stage or row.step <= step]

    def write(self, step: int, numbers: dict[str, float]) -> dict[str, float]:
        """Keep the numbers of one step. Raises BenchError when the loss is not finite."""
        if not np.isfinite(numbers.get("loss", 0.0)):
            raise BenchError(f"the loss of stage {self.stage} is not finite at step {step}; lower its learning rate")
        for name, value in numbers.items():
            self.rows.append(TrainRow(self.stage, step, name, f"{value:.6g}"))
            if self.board is not None:
                self.board.add_scalar(f"{self.stage}/{name}", value, step)
        return numbers

    def flush(self) -> None:
        """Write all rows so far to the file."""
        if not self.writes:
            return
        write_rows(self.path, TrainRow, self.rows)
        if self.board is not None:
            self.board.flush()


def _tensorboard(folder: RunFolder) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder.root / "tensorboard"))
