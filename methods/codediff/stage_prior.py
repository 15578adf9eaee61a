"""Stage 2: a prior over the volume's codes given the views' code vectors (CodeDiff3D, section 3.2).

The default is absorbing diffusion; the autoregressive prior of Eq. 1 is an option. Codes and vectors of all cases are
computed once, before the first step, by the frozen autoencoders.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.cases import Cases
from bench.dataset import Split
from bench.method import Items, Stage, Update

from . import diffusion
from .autoencoder import VectorQuantisedAutoencoder, split_cases
from .card import Masking, Objective, PriorConfig
from .transformer import CodeTransformer

ENCODED_AT_ONCE = 4


class PriorStage(Stage):
    """Trains the transformer on cached codes."""

    name = "transformer"
    averaged = ("transformer",)
    fused: bool | None = True  # the optimiser's kernel; None: as PyTorch chooses

    def __init__(
        self,
        transformer: CodeTransformer,
        volumes: VectorQuantisedAutoencoder,
        images: VectorQuantisedAutoencoder,
        config: PriorConfig,
    ) -> None:
        self.transformer, self.volume_autoencoder, self.image_autoencoder = transformer, volumes, images
        self.config, self.loop = config, config.loop
        self.networks = {"transformer": transformer}
        self.codes: dict[str, Tensor] = {}
        self.vectors: dict[str, Tensor] = {}

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        self.volume_autoencoder.to(device).eval()
        self.image_autoencoder.to(device).eval()
        for split in ("train", "validation"):
            encoded = [self._encode(cases[split], part, device) for part in cases[split].groups(ENCODED_AT_ONCE)]
            self.codes[split] = torch.cat([codes for codes, _ in encoded])
            self.vectors[split] = torch.cat([vectors for _, vectors in encoded])

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        codes, vectors = self.codes[split], self.vectors[split]
        return Items(len(codes), lambda i: (codes[i], vectors[i]))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate, decay, parameters = self.config.learning_rate, self.config.weight_decay, self.transformer.parameters()
        return {"transformer": torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=self.fused)}

    def rate(self, step: int) -> float:
        return min(1.0, (step + 1) / max(1, self.config.warm_up))

    def step(self, batch: Sequence[Tensor], update: Update, step: int) -> dict[str, Tensor | float]:
        codes, vectors = batch
        if self.config.shuffle_views:
            order = torch.rand(vectors.shape[:2]).argsort(1).to(vectors.device)
            vectors = torch.take_along_dim(vectors, order[:, :, None, None], 1)
        loss, bits = self._loss(codes, vectors, self.config.masking, self.config.objective)
        update("transformer", loss)
        return {"loss": loss.detach(), "bits_per_code": bits.detach()}

    def recomputable(self) -> Iterable[nn.Module]:
        return self.transformer.blocks

    def validation_loss(self, batch: Sequence[Tensor]) -> Tensor:
        """Mean nats of a hidden code (or of any code, autoregressive), a steadier measure than the bound."""
        return self._loss(*batch, "fixed", "mlm")[0]

    def _loss(self, codes: Tensor, vectors: Tensor, masking: Masking, objective: Objective) -> tuple[Tensor, Tensor]:
        """The loss of codes (B, L), and the bits a code that are logged beside it."""
        if self.config.kind == "autoregressive":
            nats = diffusion.cross_entropy(self._logits(codes, vectors), codes).mean() / codes.shape[1]
            return nats, nats / torch.log(torch.tensor(2.0))
        times = torch.randint(1, codes.shape[1] + 1, (len(codes),)).to(codes.device)
        noisy, hidden = diffusion.mask_codes(codes, times, self.transformer.mask_code, masking)
        logits = self._logits(noisy, vectors)
        return diffusion.training_loss(logits, codes, hidden, times, objective, self.config.reweighting)

    def _logits(self, codes: Tensor, vectors: Tensor) -> Tensor:
        return self.transformer(codes, vectors.flatten(1, 2))

    @torch.inference_mode()
    def _encode(self, cases: Cases, indices: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        codes = encode_volumes(self.volume_autoencoder, cases.volumes(indices).to(device))
        vectors = encode_views(self.image_autoencoder, cases.images(indices).to(device))
        return codes.cpu().clone(), vectors.float().cpu().clone()


def encode_volumes(autoencoder: VectorQuantisedAutoencoder, volumes: Tensor) -> Tensor:
    """Codes (B, L), row-major in (d, h, w), of volumes (B, D, H, W) in [0, 1]."""
    parts = split_cases(volumes[:, None], volumes[0].numel())
    return torch.cat([autoencoder.encode(few).codes.flatten(1) for few in parts])


def encode_views(autoencoder: VectorQuantisedAutoencoder, images: Tensor) -> Tensor:
    """Code vectors (B, V, tokens, width), row-major in (row, column), of views (B, V, h, w) in [0, 1]."""
    vectors = autoencoder.encode(images.flatten(0, 1)[:, None]).vectors
    return vectors.flatten(2).transpose(1, 2).unflatten(0, images.shape[:2])
