"""What a finished run says of itself: its means, and the best floor of those over the very same cases."""

from pathlib import Path

import pytest

from bench.results.findings import list_missing
from bench.results.model import read_results
from bench.results.summary import draw_scores, summarise_run

from ..helpers.score_rows import HASH
from ..helpers.table_rows import add, draw

PROTOCOL = "ct3d-2"


def enter(results: Path, method: str, psnr: float, **facts) -> str:
    return add(results, method, cases={"psnr": draw(0, psnr), "ssim": draw(1, 0.5, 0.01)}, protocol_hash=HASH, **facts)


def test_the_best_floor_is_one_of_the_same_cases(tmp_path: Path) -> None:
    own = enter(tmp_path, "codediff", 19.0)
    found = summarise_run(tmp_path, own, PROTOCOL)
    assert found is not None
    assert found.floor_psnr is None
    assert found.next_command.startswith("bench run --method mean,nearest --dataset lidc")
    floor = summarise_run(tmp_path, enter(tmp_path, "mean", 17.0), PROTOCOL)
    assert floor is not None
    assert (floor.floor, floor.next_command) == ("", "bench leaderboard")  # a floor asks for no floor
    enter(tmp_path, "nearest", 18.0)
    enter(tmp_path, "backprojection", 30.0, fingerprint="other")  # of other data
    for method in ("x2ctgan", "outside"):  # no floors
        enter(tmp_path, method, 25.0)
    found = summarise_run(tmp_path, own, PROTOCOL)
    assert found is not None
    assert found.floor == "nearest"
    assert found.floor_psnr == pytest.approx(18.0, abs=1.0)
    assert found.scores.startswith(f"PSNR {found.means['3d', 'psnr']:.2f} dB, SSIM 0.5")
    assert "best floor: PSNR " in found.scores
    assert found.next_command == "bench leaderboard"
    assert summarise_run(tmp_path, own, "ct3d-1") is None
    assert summarise_run(tmp_path, "no-such-run", PROTOCOL) is None


def test_the_scores_of_a_run_are_a_column_a_protocol(tmp_path: Path) -> None:
    sheet = draw_scores(tmp_path, enter(tmp_path, "codediff", 19.0))
    assert sheet is not None
    assert sheet.heads == ("Mean of the set", PROTOCOL)
    assert [line[0] for line in sheet.lines][:2] == ["SSIM", "PSNR, dB"]
    assert draw_scores(tmp_path, "no-such-run") is None


def test_the_findings_say_what_is_missing(tmp_path: Path) -> None:
    enter(tmp_path, "codediff", 19.0)
    missing = "\n".join(list_missing(read_results(tmp_path), PROTOCOL))
    for words in ("an order needs 2 methods", "no floor was run", "trained once", "--samples"):
        assert words in missing
    assert list_missing(read_results(tmp_path), "ct3d-1")[0].startswith("all: nothing was measured under ct3d-1")
