"""What all rows of one run share in tests of tables, comparisons, findings and the report."""

from typing import Any

from bench.scoring.protocols import get_protocol

HASH = get_protocol("ct3d-1").sha256()


def run_facts(method: str, variant: str = "aaaaaaaa", **other: Any) -> dict[str, Any]:
    """Columns of scores.csv: of seed 0 on chest phantoms under the default protocol, but for what is said."""
    facts = {
        "protocol": "ct3d-1",
        "protocol_hash": HASH,
        "method": method,
        "origin": "builtin",
        "dataset": "lidc",
        "source": "phantom",
        "split": "test",
        "preset": "tiny",
        "seed": 0,
        "views": "270+0",
        "space": "3d",
        "axis": "all",
        "code_version": "0",
        **other,
    }
    return {"run_id": "{method}-{dataset}-{preset}-s{seed}-{0}".format(variant, **facts), **facts}
