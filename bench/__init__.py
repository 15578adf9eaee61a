"""Benchmark harness for CT reconstruction from two X-ray views."""

from bench.system.provenance import VERSION

__version__ = VERSION
