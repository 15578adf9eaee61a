"""`bench.methods` is the folder methods/ at the repository root, which has no `__init__.py` either."""

from pathlib import Path

_here = Path(__file__).resolve().parent
__path__ = [str(next(p for p in (_here / "methods", _here.parent / "methods") if p.is_dir()))]
