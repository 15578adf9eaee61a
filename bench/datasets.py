"""`bench.datasets` is the folder datasets/ at the repository root.

It has no `__init__.py`, so that it does not shadow Hugging Face's package `datasets`.
"""

from pathlib import Path

_here = Path(__file__).resolve().parent
__path__ = [str(next(p for p in (_here / "datasets", _here.parent / "datasets") if p.is_dir()))]
