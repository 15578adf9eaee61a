"""The published training step, for `bench performance`: X2CT-GAN's, of which this is a fork."""

from ..x2ctgan.performance import make_published_stages

__all__ = ["make_published_stages"]
