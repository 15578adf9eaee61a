"""The feature extractor of density and coverage: a random, never trained network (Naeem et al. 2020, §4.3).

Architecture of the published extractor (specified in CodeDiff3D's released evaluation): three strided stages with
squeeze-excitation gates and a valid 4³ head. 128³ → 13³ = 2197 features, 64³ → 5³ = 125. Two repairs, both needed for
numbers that can be repeated: weights follow a seed, and spectral norm is exact. (As released it divides by
uᵀWv of two random vectors, off by a median factor of 54 and negative in 44 % of the layers; `random-vectors` keeps
that for the protocol that repeats it.)
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.metrics.settings import NAEEM_2020, EncoderSettings

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def make_encoder(seed: int, dimensions: int, settings: EncoderSettings = NAEEM_2020) -> "RandomEncoder":
    """Return the encoder of a seed in 2 or 3 dimensions, on the CPU, in float32: default initialisation, then
    W / σ_max(W), or W / uᵀWv of unit vectors u and v that the seed draws.

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = RandomEncoder(dimensions, settings)
        if settings.spectral_norm == "random-vectors":
            divide_by_random_vectors(encoder)
    if settings.spectral_norm == "exact":
        normalise_spectrally(encoder)
    encoder.eval().requires_grad_(False)
    return encoder.to(memory_format=CHANNELS_LAST[dimensions])  # type: ignore[call-overload]


@torch.no_grad()
def normalise_spectrally(module: nn.Module) -> None:
    """Divide each weight (out, in, …) by the largest singular value of its (out, rest) matrix."""
    for weight in module.parameters():
        exact = weight.double()
        weight.copy_(exact / largest_singular_value(exact.flatten(1)))


@torch.no_grad()
def divide_by_random_vectors(module: nn.Module) -> None:
    """Divide each weight by uᵀWv of its (out, rest) matrix, u and v random unit vectors: spectral norm not iterated."""
    for weight in module.parameters():
        matrix = weight.double().flatten(1)
        u, v = (F.normalize(torch.randn(length, dtype=torch.float64), dim=0) for length in matrix.shape)
        weight.copy_(weight.double() / (u @ matrix @ v))


def largest_singular_value(matrix: Tensor) -> Tensor:
    """σ_max of (n, m) to rounding: 2³⁰ power iterations as 30 squarings of the Gram matrix, far quicker than an SVD."""
    gram = matrix @ matrix.T
    power = gram / gram.trace()
    for _ in range(30):
        power = power @ power
        power = power / power.trace()  # tends to the projector on the first singular vector
    return (gram * power).sum().sqrt()


class RandomEncoder(nn.Module):
    """(B, 1, s, s[, s]) → (B, (s/8 − 3)^dimensions); all convolutions are free of biases, so 0 maps to 0."""

    def __init__(self, dimensions: int, settings: EncoderSettings = NAEEM_2020) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        widths, self.slope = settings.widths, settings.slope
        pairs = list(pairwise(widths))
        self.stem = convolution(1, widths[0], 3, padding=1, bias=False)
        self.stages = nn.ModuleList(DownStage(dimensions, a, b, settings.slope) for a, b in pairs)
        self.gates = nn.ModuleList(Gate(dimensions, a, b, settings.gate_side) for a, b in pairs)
        self.widen = convolution(widths[-1], settings.head_width, 1, bias=False)
        self.head = convolution(settings.head_width, 1, settings.head_side, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        x = lower = _rectify(self.stem(images), self.slope)
        for stage, gate in zip(self.stages, self.gates, strict=True):
            deeper = stage(x)
            x = gate(lower) * deeper
            lower = deeper  # the next gate reads this map before it is gated
        return self.head(_rectify(self.widen(x), self.slope)).flatten(1)


class DownStage(nn.Module):
    """Halve the side: the mean of a strided path and of a pooled one."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, slope: float) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        self.dimensions, self.slope = dimensions, slope
        self.strided = convolution(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.refine = convolution(outputs, outputs, 3, padding=1, bias=False)
        self.skip = convolution(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        main = _rectify(self.refine(_rectify(self.strided(x), self.slope)), self.slope)
        return main.add_(_rectify(self._pool_and_skip(x), self.slope)).mul_(0.5)

    def _pool_and_skip(self, x: Tensor) -> Tensor:
        """Average pooling by 2, then the 1×1 convolution, as one strided convolution: much faster on a CPU."""
        spread = self.skip.weight.expand(-1, -1, *(2,) * self.dimensions) / 2**self.dimensions
        convolve = F.conv3d if self.dimensions == 3 else F.conv2d
        return convolve(x, spread.contiguous(memory_format=CHANNELS_LAST[self.dimensions]), stride=2)


class Gate(nn.Module):
    """Squeeze-excitation: a map pooled to 4 a side → one factor in (0, 1) a channel of the deeper map."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, side: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        self.side = side
        self.squeeze = convolution(inputs, outputs, side, bias=False)
        self.excite = convolution(outputs, outputs, 1, bias=False)

    def forward(self, lower: Tensor) -> Tensor:
        return torch.sigmoid(self.excite(F.silu(self.squeeze(_average_blocks(lower, self.side)))))


def _average_blocks(x: Tensor, blocks: int) -> Tensor:
    """(B, C, s, s[, s]) → (B, C, blocks, …): adaptive average pooling, ten times faster on channels-last memory."""
    batch, channels, *sides = x.shape
    outer, rest = batch, x.movedim(1, -1)
    for side in sides:
        rest = rest.reshape(outer * blocks, side // blocks, -1).mean(1)
        outer *= blocks
    return rest.reshape(batch, *(blocks,) * len(sides), channels).movedim(-1, 1)


def _rectify(x: Tensor, slope: float) -> Tensor:
    return F.leaky_relu(x, slope, inplace=True)
