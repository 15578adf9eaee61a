"""The losses of X2CT-GAN (section 3.3; released code), unweighted, of volumes (B, 1, D, H, W) and of logits."""

from torch import Tensor


def adversarial_loss(logits: Tensor, target: float) -> Tensor:
    """Least squares: how far logits of any shape are from 1 (true) or 0 (made)."""
    return (logits - target).square().mean()


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Both terms of the discriminator, from its logits of true and of made volumes."""
    return adversarial_loss(real, 1.0) + adversarial_loss(made, 0.0)


def voxel_loss(volume: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return (volume - target).square().mean()


def projection_losses(volume: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L1 distances of the parallel mean projections along D, H and W."""
    volume, target = volume.abs(), target.abs()
    along_d, along_h, along_w = ((volume.mean(axis) - target.mean(axis)).abs().mean() for axis in (2, 3, 4))
    return along_d, along_h, along_w


def projection_loss(volume: Tensor, target: Tensor) -> Tensor:
    """Mean of the three projection losses."""
    return sum(projection_losses(volume, target), volume.new_zeros(())) / 3
