"""Protocols are frozen, found by name, explained, and their numbers never meet."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli import run_command
from bench.errors import BenchError, UsageError
from bench.metrics import METRICS
from bench.results.model import read_results
from bench.results.tables import build_tables
from bench.scoring.protocols import PROTOCOLS, describe, get_protocol
from bench.scoring.released_codediff import TRUTH_ENCODED
from bench.scoring.rows import ScoreRow, check_rows, merge_rows

FROZEN = {
    "ct3d-1": "00f4221b9afe",
    "paper-2023": "73d5a40140a3",
    "x2ct-2019": "dbfdab5eaa21",
    "ccx-2021": "9efbaa9674fa",
}


def row(protocol: str, metric: str, value: float, **changes) -> ScoreRow:
    fields = {
        "run_id": "a-b-c-s0-01234567",
        "protocol": protocol,
        "protocol_hash": get_protocol(protocol).sha256(),
        "method": "a",
        "origin": "builtin",
        "dataset": "b",
        "source": "phantom",
        "split": "test",
        "preset": "c",
        "seed": 0,
        "views": "270+0",
        "space": "3d",
        "axis": "all",
        "metric": metric,
        "level": "case",
        "case": "one",
        "stat": "value",
        "value": value,
        "n": 1,
        "code_version": "0",
    }
    return ScoreRow(**{**fields, **changes})


def test_a_definition_that_has_an_id_stays_what_it_is() -> None:
    """A failure means that numbers under this id would change their meaning: give the new definition a new id."""
    assert {name: protocol.sha256()[:12] for name, protocol in PROTOCOLS.items()} == FROZEN


@pytest.mark.parametrize("name", PROTOCOLS)
def test_show_prints_the_definition_with_its_hash_and_every_quirk(name: str, capsys) -> None:
    assert run_command(["show", name]) == 0
    text = capsys.readouterr().out
    protocol = get_protocol(name)
    assert protocol.sha256()[:12] in text
    assert all(quirk in text for quirk in protocol.quirks)
    assert all(head in text for head in ("values", "truth", "PSNR", "SSIM", "MIP", "NLL", "density, coverage"))


def test_released_protocols_name_a_source_for_what_a_reader_would_not_expect() -> None:
    assert PROTOCOLS["ct3d-1"].quirks == ()
    for name in ("paper-2023", "x2ct-2019", "ccx-2021"):
        quirks = PROTOCOLS[name].quirks
        assert len(quirks) >= 4
        assert sum(".py:" in quirk for quirk in quirks) >= len(quirks) / 2


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("ct3d-1", ("peak 1;", "na, not infinity", "k = 5", "exact spectral norm", "σ 1 voxels", "1-HU")),
        ("paper-2023", ("own encoding of the CT", "W, W and H", "batches of 8", "k = 3", "100 dB", "l1_sample")),
        ("x2ct-2019", ("4095", "× 2500 truncated", "D, H and W", "cosine")),
        ("ccx-2021", ("1.6384", "4096", "across H, D and W")),
    ],
)
def test_a_description_says_what_decides_the_numbers(name: str, facts: tuple[str, ...]) -> None:
    text = describe(get_protocol(name))
    assert [fact for fact in facts if fact not in text] == []


def test_an_unknown_protocol_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean x2ct-2019"):
        get_protocol("x2ct")


def test_every_field_of_a_protocol_but_its_explanations_enters_the_hash() -> None:
    protocol = get_protocol("paper-2023")
    fidelity = protocol.fidelity
    changed = [
        replace(protocol, exact_db=None),
        replace(protocol, integer_peak=4095.0),
        replace(protocol, truth="ct"),
        replace(protocol, values="window"),
        replace(protocol, mip=None),
        replace(protocol, fidelity=replace(fidelity, batch=9)),
        replace(protocol, fidelity=replace(fidelity, spectral_norm="exact")),
        replace(protocol, fidelity=replace(fidelity, values="window")),
        replace(protocol, fidelity=replace(fidelity, blur_voxels=2.0)),
    ]
    assert len({p.sha256() for p in (protocol, *changed)}) == len(changed) + 1
    assert replace(protocol, quirks=()).sha256() == protocol.sha256()


# --- invariants of rows follow the protocol


def test_psnr_is_checked_against_the_errors_its_protocol_takes() -> None:
    check_rows([row("x2ct-2019", "mse", 0.01), row("x2ct-2019", "mse_int", 4.0), row("x2ct-2019", "psnr", 66.2251)][:2])
    good = 20 * 3.6122539060964374 - 10 * 0.6020599913279624  # log10 of 4095 and of 4
    check_rows([row("x2ct-2019", "mse", 0.01), row("x2ct-2019", "mse_int", 4.0), row("x2ct-2019", "psnr", good)])
    with pytest.raises(BenchError, match="is not that of MSE"):
        check_rows([row("x2ct-2019", "mse", 0.01), row("x2ct-2019", "mse_int", 4.0), row("x2ct-2019", "psnr", 20.0)])


def test_a_mean_over_slices_may_lie_above_the_value_of_the_volume_and_not_below() -> None:
    check_rows([row("paper-2023", "mse", 0.01), row("paper-2023", "psnr", 60.0)])
    check_rows([row("paper-2023", "mse", 1e-13), row("paper-2023", "psnr", 110.0)])  # the cap may lower it
    with pytest.raises(BenchError, match="is not that of MSE"):
        check_rows([row("paper-2023", "mse", 0.01), row("paper-2023", "psnr", 19.0)])
    with pytest.raises(BenchError, match="is not that of MSE"):
        check_rows([row("ct3d-1", "mse", 0.01), row("ct3d-1", "psnr", 60.0)])


# --- in tables


MEAN = {"level": "set", "stat": "mean", "case": ""}


def test_each_protocol_has_a_block_of_its_own_with_the_truth_in_one_footnote(tmp_path: Path) -> None:
    rows = [row("paper-2023", metric, 0.02, note=TRUTH_ENCODED, **MEAN) for metric in ("mse", "mae")]
    merge_rows(tmp_path, [*rows, row("ct3d-1", "mse", 0.04, **MEAN)])
    (table,) = [table for table in build_tables("all", read_results(tmp_path)) if table.id == "b-3d"]
    values = [[cell.value for cell in block.methods[0].cells if cell.metric == "mse"] for block in table.blocks]
    assert values == [[0.04], [0.02]]  # never a mean of both
    assert [block.header.split(" ")[0] for block in table.blocks] == ["ct3d-1", "paper-2023"]
    assert "batches of 8" in table.blocks[1].header
    assert [text for text in table.footnotes if "encoding" in text] == [f"a: {TRUTH_ENCODED}"]


@pytest.mark.parametrize(("value", "title"), [(2.5, "blurred by 1"), (None, "real training cases")])
def test_blurred_test_cases_stand_beside_real_ones_where_they_were_scored(tmp_path: Path, value, title: str) -> None:
    status = "na" if value is None else "ok"
    blurred = row("paper-2023", "density_blurred", value, note="blurred by 1", status=status, **MEAN)
    real = row("paper-2023", "density_baseline", 1.1, **MEAN)
    merge_rows(tmp_path, [row("paper-2023", "density", 1.2, **MEAN), real, blurred])
    (table,) = [table for table in build_tables("all", read_results(tmp_path)) if table.id == "b-3d"]
    last = table.blocks[0].references[-1]
    assert last.title == title
    assert [cell.value for cell in last.cells if cell.metric == "density"] == [value or 1.1]


def test_every_shown_metric_is_known() -> None:
    from bench.results.audit import list_lines

    assert all(metric in METRICS and space in METRICS[metric].spaces for space, _, metric in list_lines())


def test_the_tables_in_the_readme_are_of_todays_definitions() -> None:
    """`bench audit RUN --readme README.md` writes them again."""
    text = Path(__file__).parents[2].joinpath("README.md").read_text()
    block = text.partition("<!-- audit -->")[2].partition("<!-- /audit -->")[0]
    heads = [f"{name} ({protocol.sha256()[:8]})" for name, protocol in PROTOCOLS.items()]
    assert [head for head in heads if head not in block] == []
    assert "PSNR, dB" in block
