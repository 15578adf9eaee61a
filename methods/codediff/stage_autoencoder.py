"""Stage 1: a vector-quantised autoencoder against a discriminator (CodeDiff3D, section 3.1), for views and for volumes.

Each step the discriminator is updated first and the autoencoder after it, on one forward pass. The released code
makes a second, equal one.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from bench.cases import Cases
from bench.dataset import Split
from bench.distributed import from_main, is_main
from bench.errors import UsageError
from bench.method import Items, Stage, Update

from . import losses
from .augment import AdaptiveProbability, cut_out, random_pipeline, translate
from .autoencoder import Quantised, Reconstruction, VectorQuantisedAutoencoder
from .card import AutoencoderStageConfig
from .discriminator import ProgressiveDiscriminator, build_discriminator

CLUSTERED_CASES = 128  # whose latents the codes start from


class AutoencoderStage(Stage):
    """Trains one autoencoder on single views or on volumes."""

    averaged = ("autoencoder",)
    fused: bool | None = True  # the optimisers' kernels; None: as PyTorch chooses

    def __init__(
        self,
        name: Literal["vqvae2d", "vqvae3d"],
        autoencoder: VectorQuantisedAutoencoder,
        config: AutoencoderStageConfig,
        size: int,
    ) -> None:
        smallest = config.discriminator.smallest_side
        if config.discriminator_start < config.loop.steps and size < smallest:
            raise UsageError(
                f"codediff, {name}: the discriminator needs inputs of {smallest} a side, not {size}; "
                f"lower {name}.discriminator.stages"
            )
        self.name, self.autoencoder, self.config, self.size = name, autoencoder, config, size
        self.loop = config.loop
        self.distance = losses.perceptual_distance(config.perceptual)
        self.format = torch.channels_last if autoencoder.config.dimensions == 2 else torch.channels_last_3d
        self.discriminator = build_discriminator(config.discriminator).to(memory_format=self.format)
        self.probability = AdaptiveProbability()
        self.networks: dict[str, nn.Module] = {"autoencoder": autoencoder, "discriminator": self.discriminator}
        self.cases: Mapping[Split, Cases] = {}

    def prepare(self, cases: Mapping[Split, Cases], cache: Path, device: torch.device) -> None:
        self.cases = cases

    def batches(self, split: Literal["train", "validation"]) -> Dataset:
        cases = self.cases[split]
        if self.name == "vqvae3d":
            return Items(len(cases), lambda i: cases.volumes([i]), ahead=True)
        views = cases.card.views
        return Items(len(cases) * views, lambda i: cases.images([i // views])[0, i % views, None], ahead=True)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rate, fused = self.config.learning_rate, self.fused
        return {name: torch.optim.Adam(net.parameters(), rate, fused=fused) for name, net in self.networks.items()}

    def step(self, batch: Tensor, update: Update, step: int) -> dict[str, Tensor | float]:
        images = batch.contiguous(memory_format=self.format)
        if step == self.config.codebook_start > 0:
            self._start_codebook(step, images.device)
        made = self.autoencoder(images) if step >= self.config.codebook_start else self._reconstruct_unquantised(images)
        values: dict[str, Tensor | float] = {}
        adversarial = step >= self.config.discriminator_start
        if adversarial:
            values |= self._update_discriminator(images, made.image.detach(), update)
        values |= self._update_autoencoder(images, made, adversarial, update)
        return values

    def recomputable(self) -> Iterable[nn.Module]:
        return [*self.autoencoder.encoder, *self.autoencoder.decoder]

    def validation_loss(self, batch: Tensor) -> Tensor:
        images = batch.contiguous(memory_format=self.format)
        return self._reconstruction_loss(self.autoencoder(images).image, images)

    def state(self) -> dict[str, Any]:
        return {"probability": self.probability.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.probability.load_state(state["probability"])

    def _reconstruct_unquantised(self, images: Tensor) -> Reconstruction:
        latents = self.autoencoder.latents(images)
        nothing = images.new_zeros(())
        codes = images.new_zeros((), dtype=torch.long)
        return Reconstruction(self.autoencoder.decode(latents), Quantised(codes, latents, nothing, nothing))

    @torch.no_grad()
    def _start_codebook(self, step: int, device: torch.device) -> None:
        """Short trainings leave most codes unused when they start from noise."""
        items = self.batches("train")
        count = len(items)  # type: ignore[arg-type]
        chosen = torch.randperm(count, generator=torch.Generator().manual_seed(step))[:CLUSTERED_CASES].tolist()
        quantiser = self.autoencoder.quantiser
        if is_main():
            latents = [self.autoencoder.latents(items[i][None].to(device)) for i in chosen]
            quantiser.start_at(torch.cat(latents).float().movedim(1, -1).flatten(0, -2), step)
        # of all processes: each would round, and then cluster, in its own way
        quantiser.codebook.copy_(from_main(quantiser.codebook.detach().cpu()))

    def _update_discriminator(self, images: Tensor, made: Tensor, update: Update) -> dict[str, Tensor | float]:
        self.discriminator.requires_grad_(True)
        seen = self._augment(images)
        redrawing = torch.zeros((), device=images.device)
        if isinstance(self.discriminator, ProgressiveDiscriminator) and self.config.discriminator.decoders:
            part = int(torch.randint(4, ()))
            real, drawn = self.discriminator.redraw(seen, part)
            targets = self.discriminator.redraw_targets(seen, part)
            distance = self.distance or nn.functional.l1_loss
            # the released loss is a sum over the batch, of which each process and part holds its share
            redrawing = sum(distance(a, b) * self.loop.batch_size for a, b in zip(drawn, targets, strict=True))
        else:
            real = self.discriminator(seen)
        fake = self.discriminator(self._augment(made))
        self.probability.observe(real)
        loss = losses.discriminator_loss(real, fake, self.config.margin) + redrawing
        update("discriminator", loss)
        return {
            "discriminator_loss": loss.detach(),
            "logits_real": real.detach().mean(),
            "logits_fake": fake.detach().mean(),
            "augmentation_probability": self.probability.probability,
        }

    def _update_autoencoder(
        self, images: Tensor, made: Reconstruction, adversarial: bool, update: Update
    ) -> dict[str, Tensor | float]:
        reconstruction = self._reconstruction_loss(made.image, images)
        quantiser = self.config.quantiser_weight * made.quantised.loss
        values: dict[str, Tensor | float] = {
            "loss": (reconstruction + quantiser).detach(),
            "reconstruction_loss": reconstruction.detach(),
            "quantiser_loss": made.quantised.loss.detach(),
            "perplexity": made.quantised.perplexity.detach(),
        }
        if not adversarial:
            update("autoencoder", reconstruction + quantiser)
            return values
        self.discriminator.requires_grad_(False)
        generator = losses.generator_loss(self.discriminator(self._augment(made.image)))
        # both gradients are taken at the image, so that the way back through the discriminator is gone once
        (wanted,) = torch.autograd.grad(reconstruction, made.image)
        (given,) = torch.autograd.grad(generator, made.image)
        weight = losses.adaptive_weight(wanted, given, made.image, self.autoencoder.last_layer)
        update("autoencoder", (made.image * (wanted + weight * given)).sum() + quantiser)
        adversarial_loss = weight * generator.detach()
        return values | {
            "loss": values["loss"] + adversarial_loss,
            "generator_loss": generator.detach(),
            "adaptive_weight": weight,
        }

    def _augment(self, images: Tensor) -> Tensor:
        images = images / self.autoencoder.config.value_scale
        if self.config.augmentation == "diffaugment":
            return cut_out(translate(images))
        return random_pipeline(images, self.probability.probability) if self.config.augmentation == "ada" else images

    def _reconstruction_loss(self, image: Tensor, target: Tensor) -> Tensor:
        weight, scale = self.config.reconstruction_weight, self.autoencoder.config.value_scale
        image, target = image / scale, target / scale
        if self.name == "vqvae3d":
            return losses.volume_loss(image, target, weight)
        return losses.view_loss(image, target, self.distance, weight)
