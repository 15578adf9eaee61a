"""What the discriminator's inputs go through: DiffAugment's `translate` and `cut_out`, or ADA's adaptive pipeline.

The adaptive pipeline draws what the released code draws, with three corrections after StyleGAN2-ADA (Karras et al.,
2020): its probability follows the logits of real inputs, inputs are never changed in place, and each discriminator
pass augments once. Everything random comes from torch's global generator on the CPU.
"""

import math
from typing import Any

import kornia.augmentation as kornia
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.distributed import mean_over_processes

SCALE_SPREAD = (0.2 * math.log(2)) ** 2  # standard deviation of the logarithm of the scale
ROTATION = 15.0  # degrees
FIRST, STEP, LARGEST = 0.05, 0.005, 0.8  # probability of an augmentation
TARGET, EVERY = 0.6, 8  # mean sign of real logits to keep, and values averaged between two steps


def translate(images: Tensor) -> Tensor:
    """Images (B, C, *input), each shifted by whole pixels of up to ±12.5 % a side and filled with zeros."""
    limits = [round(side * 0.125) for side in images.shape[2:]]
    shifted = []
    for image in images:
        shifts = [int(torch.randint(-limit, limit + 1, ())) for limit in limits]
        padding = [pad for shift in reversed(shifts) for pad in (shift, -shift)]
        shifted.append(F.pad(image, padding))
    return torch.stack(shifted)


def cut_out(images: Tensor) -> Tensor:
    """Images (B, C, *input) with a box of half the side zeroed at a random centre, clipped at the borders."""
    inside = torch.ones((), dtype=torch.bool, device=images.device)
    for axis, side in enumerate(images.shape[2:], start=2):
        width = round(side / 2)
        first = torch.randint(0, side + 1, (len(images), 1)) - width // 2
        place = torch.arange(side)
        within = ((place >= first) & (place < first + width)).to(images.device)
        shape = [len(images), *(1 for _ in images.shape[1:])]
        shape[axis] = side
        inside = inside & within.view(shape)
    return images.masked_fill(inside, 0)


def random_pipeline(images: Tensor, probability: float) -> Tensor:
    """ADA's pipeline on images (B, 1, *input): each step is applied to each image with `probability`.

    3-D: flip D, rotate, flip H, flip W, scale, scale each axis, contrast. 2-D: perspective, shift, scale, rotate,
    plasma contrast (which clamps to [0, 1]). Computed in float32; the input is left as it is.
    """
    if probability == 0:
        return images
    if images.ndim == 4:
        transforms = [
            kornia.RandomPerspective(0.2, p=probability),
            kornia.RandomAffine(0.0, translate=(0.125, 0.125), p=probability),
            kornia.RandomAffine(0.0, scale=_scale_range(), p=probability),
            kornia.RandomRotation(ROTATION, p=probability),
            kornia.RandomPlasmaContrast(p=probability),
        ]
    else:
        one, each = _scale_range(), [_scale_range() for _ in range(3)]
        transforms = [
            kornia.RandomDepthicalFlip3D(p=probability),
            kornia.RandomRotation3D((ROTATION, ROTATION, ROTATION), p=probability),
            kornia.RandomVerticalFlip3D(p=probability),
            kornia.RandomHorizontalFlip3D(p=probability),
            kornia.RandomAffine3D(0.0, scale=one, p=probability),
            kornia.RandomAffine3D(0.0, scale=tuple(each), p=probability),
        ]
    with torch.autocast(images.device.type, enabled=False):
        images = images.float()
        for transform in transforms:
            drawn = transform.forward_parameters(images.shape)
            if bool((drawn["batch_prob"] > 0.5).any()):  # one that would change no image is not computed
                images = transform(images, params=drawn)
        return images if images.ndim == 4 else _contrast(images, probability)


class AdaptiveProbability:
    """The probability of an augmentation, raised while the discriminator is too sure of real inputs."""

    def __init__(self) -> None:
        self.probability = FIRST
        self.signs: list[Tensor] = []  # mean sign of real logits, of the passes since the last step

    def observe(self, real_logits: Tensor) -> None:
        """Take the logits of one pass over real inputs; every eighth pass moves the probability by a step.

        On several devices all take the mean of theirs and keep the same probability.
        """
        self.signs.append(mean_over_processes(real_logits.detach().sign().float().mean()))
        if len(self.signs) == EVERY:  # only now does the device have to be waited for
            signs = torch.stack([torch.as_tensor(sign).to(real_logits) for sign in self.signs]).tolist()
            direction = 1 if sum(signs) / EVERY > TARGET else -1
            self.probability = min(max(self.probability + direction * STEP, 0.0), LARGEST)
            self.signs = []

    def state(self) -> dict[str, Any]:
        """What to save."""
        return {"probability": self.probability, "signs": list(self.signs)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self.probability, self.signs = float(state["probability"]), list(state["signs"])


def _scale_range() -> tuple[float, float]:
    factor = math.exp(SCALE_SPREAD * float(torch.randn(())))
    return min(1.0, factor), max(1.0, factor)


def _contrast(images: Tensor, probability: float) -> Tensor:
    chosen, factor = torch.rand(len(images)) < probability, 0.5 + torch.rand(len(images))
    shape = (-1, *(1 for _ in images.shape[1:]))
    chosen, factor = chosen.to(images.device).view(shape), factor.to(images.device).view(shape)
    mean = images.flatten(1).mean(1).view(shape)
    return torch.where(chosen, (images - mean) * factor + mean, images)
