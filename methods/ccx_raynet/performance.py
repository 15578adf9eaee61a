"""The published training step and reconstruction, for `bench performance`: X2CT-GAN's, of which this is a fork."""

from ..x2ctgan.performance import published_reconstruct, published_stages

__all__ = ["published_reconstruct", "published_stages"]
