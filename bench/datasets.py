"""`bench.datasets` is the folder datasets/ at the repository root; it has no `__init__.py`, so Hugging Face `datasets` stays importable."""

from pathlib import Path

_here = Path(__file__).resolve().parent
__path__ = [str(next(p for p in (_here / "datasets", _here.parent / "datasets") if p.is_dir()))]
