"""Ceiling: the true CT through CodeDiff3D's volume autoencoder, the best its prior could ever reach."""

from collections.abc import Sequence

from torch import Tensor

from bench.cases import Views
from bench.dataset import DatasetCard
from bench.errors import UsageError
from bench.method import FittedStage, Method, Stage

from .card import ORACLE_CARD, PRESETS, CodeDiffConfig
from .method import CodeDiff


class Oracle(Method):
    """Encodes and decodes the truth.

    Its autoencoder is the one of the CodeDiff3D run of the same seed and settings: initial weights, order of the data
    and randomness are functions of the seed and of the stage's name.
    """

    card = ORACLE_CARD
    Config = CodeDiffConfig
    presets = PRESETS

    def __init__(self, config: CodeDiffConfig, data: DatasetCard) -> None:
        self._method = CodeDiff(config, data)

    def stages(self) -> Sequence[Stage | FittedStage]:
        return [stage for stage in self._method.stages() if stage.name == "vqvae3d"]

    def reconstruct(self, views: Views, *, seeds: Sequence[int]) -> Tensor:
        raise UsageError("oracle encodes the true volume; it cannot reconstruct one from views")

    def reconstruct_truth(self, volume: Tensor) -> Tensor:
        return self._method.reconstruct_truth(volume)
