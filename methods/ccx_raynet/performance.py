"""The published training step, for `bench performance`: X2CT-GAN's, of which this is a fork."""

from ..x2ctgan.performance import published_stages

__all__ = ["published_stages"]
