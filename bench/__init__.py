"""Benchmark harness for CT reconstruction from two X-ray views."""

__version__ = "0.1.0"
