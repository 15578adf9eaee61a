"""Protocols are frozen, found by name, explained; their hash covers what decides a number, and numbers never meet."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli import run_command
from bench.errors import UsageError
from bench.metrics.settings import Band
from bench.results.model import read_results
from bench.results.tables import build_tables
from bench.scoring.cases import score_case
from bench.scoring.protocol import TRUTH_ENCODED, USED, VERSIONS, CaseVolumes, Protocol, Stretch
from bench.scoring.protocols import CARRIED, PROTOCOLS, carry_hash, describe, get_protocol, list_definitions
from bench.scoring.rows import Score
from bench.scoring.store import put_run

from ..helpers.score_rows import run_line, score

FROZEN = {
    "ct3d-1": "e979df53a593",
    "ct3d-2": "43a76cccb23d",
    "paper-2023": "7e77801fc416",
    "paper-2023-ct": "32e0a65a5b9f",
    "x2ct-2019": "b3e817c60b6e",
    "ccx-2021": "4dad81ffb004",
}
EARLIER = ("ct3d-1", "paper-2023", "x2ct-2019", "ccx-2021")  # whose hashes of before are known
OTHERS = {  # another value of a setting that is no number, or for which not every number is allowed
    "id": "another",
    "truth": "encoded",
    "psnr": "volume",
    "axes": ("d", "d", "d"),
    "widths": (16, 32, 64, 64),
    "spectral_norm": "random-vectors",
    "encoder_seeds": (7,),
    "blur_edge": "reflect",
    "interpolation": ("nearest", "nearest"),
    "stretch": Stretch(),
    "batch": 5,
    "bands": (Band("fat", -200.0, 0.0),),
    "bins": (1,),
    "least_scales_hu": (1.0,),
}
TAKEN = {"truth": "ct", "psnr": "integers", "spectral_norm": "exact", "batch": 8}  # OTHERS are these where they differ


def row(protocol: str, metric: str, value: float | None, **changes) -> Score:
    return score(metric, value, **{"protocol": protocol, "case": "one", **changes})


def add(results: Path, rows: Sequence[Score], **facts: Any) -> None:
    """Enter scores of one run of method a on data set b."""
    line = {"method": "a", "dataset": "b", "preset": "c", "seed": 0, "views": "270+0", "split": "test", **facts}
    put_run(results, run_line(f"a-b-c-s{line['seed']}-01234567", **line), rows)


def settings_of(part: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each setting in a protocol or a part of it."""
    for field in fields(part):
        value = getattr(part, field.name)
        if is_dataclass(value):
            yield from settings_of(value, (*path, field.name))
        elif field.name in OTHERS or isinstance(value, int | float):
            yield (*path, field.name)


def with_another(part: Any, path: tuple[str, ...], others: Mapping[str, Any] = OTHERS) -> Any:
    """The same protocol, or part of one, but for the setting at `path`."""
    name, *rest = path
    value = getattr(part, name)
    if rest:
        return replace(part, **{name: with_another(value, tuple(rest), others)})
    if name not in others:
        return replace(part, **{name: 1.5 * value if isinstance(value, float) else value + 1})
    return replace(part, **{name: TAKEN[name] if value == others[name] else others[name]})


SETTINGS = [(name, path) for name, protocol in PROTOCOLS.items() for path in settings_of(protocol)]


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


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("ct3d-1", ("peak 1;", "na, not infinity", "k = 5", "exact spectral norm", "σ 1 voxels", "1-HU")),
        ("ct3d-2", ("8 angles", "next case", "0.3333 of the Nyquist", "ASSD", "-400 HU", "fat [-150, -50)", "cloth")),
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


# --- the hash


@pytest.mark.parametrize(
    ("name", "path"), SETTINGS, ids=lambda value: ".".join(value) if isinstance(value, tuple) else value
)
def test_every_setting_enters_the_hash_and_the_description(name: str, path: tuple[str, ...]) -> None:
    protocol = PROTOCOLS[name]
    other = with_another(protocol, path)
    assert other != protocol
    assert other.sha256() != protocol.sha256()
    texts = [describe(each).replace(each.sha256()[:12], "") for each in (protocol, other)]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("part", ["projections", "turn", "reprojection", "anatomy", "likelihood", "fidelity"])
def test_every_part_enters_the_hash(part: str) -> None:
    protocol = PROTOCOLS["ct3d-2"]
    assert replace(protocol, **{part: None}).sha256() != protocol.sha256()


def test_explanations_do_not_enter_the_hash() -> None:
    for protocol in PROTOCOLS.values():
        assert replace(protocol, quirks=("another",)).sha256() == protocol.sha256()


@pytest.mark.parametrize("name", VERSIONS)
def test_the_version_of_a_function_enters_the_hash_of_the_protocols_that_call_it(name: str, monkeypatch) -> None:
    before = {protocol.id: protocol.sha256() for protocol in PROTOCOLS.values()}
    using = {protocol.id for protocol in PROTOCOLS.values() if name in protocol.versions()}
    monkeypatch.setitem(VERSIONS, name, VERSIONS[name] + 1)
    assert {protocol.id for protocol in PROTOCOLS.values() if protocol.sha256() != before[protocol.id]} == using
    assert using


def test_a_protocol_depends_on_the_functions_of_its_parts_alone() -> None:
    versions = {name: set(protocol.versions()) for name, protocol in PROTOCOLS.items()}
    assert {"ssim", "projector", "1-HU bins", "neighbours"} <= versions["ct3d-1"]
    assert versions["x2ct-2019"] == versions["ccx-2021"] == {*USED["every"], *USED["ReleasedX2ct"]}
    assert "projector" not in versions["paper-2023"]


def distortion_settings(name: str) -> list[tuple[str, ...]]:
    return [path for path in settings_of(PROTOCOLS[name]) if path[0] in ("distortion", "projections")]


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, path) for name in PROTOCOLS for path in distortion_settings(name)],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else value,
)
def test_every_setting_of_the_numbers_of_a_case_decides_one(name: str, path: tuple[str, ...]) -> None:
    """A setting that no function reads would say something of the numbers that is not so."""
    random = np.random.default_rng(5)
    truth = 0.2 + 0.6 * random.random((13, 14, 15))
    prediction = np.clip(truth + 0.1 * random.normal(size=truth.shape), 0.0, 1.0)
    prediction[3] = truth[3]
    volumes = CaseVolumes(truth, prediction)
    protocol = PROTOCOLS[name]
    other: Protocol = with_another(protocol, path)
    assert score_case(volumes, other) != score_case(volumes, protocol)


def test_protocols_are_read_without_pytorch_and_scipy() -> None:
    code = "import sys, bench.scoring.protocols; print({'torch', 'scipy', 'skimage', 'pandas'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


# --- hashes of before


def test_earlier_hashes_lead_to_todays_definitions_and_others_to_themselves() -> None:
    assert len(CARRIED) == len(set(CARRIED.values())) == 4
    assert {carry_hash(old) for old in CARRIED} == {PROTOCOLS[name].sha256() for name in EARLIER}
    assert all(carry_hash(protocol.sha256()) == protocol.sha256() for protocol in PROTOCOLS.values())
    assert carry_hash("0" * 64) == "0" * 64


def test_rows_of_an_earlier_hash_share_a_block_with_todays_and_those_of_another_do_not(tmp_path: Path) -> None:
    (old,) = [old for old, new in CARRIED.items() if new == PROTOCOLS["ct3d-1"].sha256()]
    for seed, protocol_hash in enumerate((old, PROTOCOLS["ct3d-1"].sha256(), "0" * 64)):
        add(tmp_path, [row("ct3d-1", "mse", 0.01 * (seed + 1), **MEAN, protocol_hash=protocol_hash)], seed=seed)
    (table,) = [table for table in build_tables("all", read_results(tmp_path)) if table.id == "b-3d"]
    cells = [(block.methods[0].cells, block.header) for block in table.blocks]
    values = sorted((cell.value, header) for row, header in cells for cell in row if cell.metric == "mse")
    assert [value for value, _ in values] == pytest.approx([0.015, 0.03])
    assert "protocol as another version defines it" in values[1][1]


# --- in tables


MEAN = {"level": "set", "stat": "mean", "case": ""}


def test_each_protocol_has_a_block_of_its_own_with_the_truth_in_one_footnote(tmp_path: Path) -> None:
    rows = [row("paper-2023", metric, 0.02, note=TRUTH_ENCODED, **MEAN) for metric in ("mse", "mae")]
    add(tmp_path, [*rows, row("ct3d-1", "mse", 0.04, **MEAN)])
    (table,) = [table for table in build_tables("all", read_results(tmp_path)) if table.id == "b-3d"]
    values = [[cell.value for cell in block.methods[0].cells if cell.metric == "mse"] for block in table.blocks]
    assert values == [[0.04], [0.02]]  # never a mean of both
    assert [block.header.split(" ")[0] for block in table.blocks] == ["ct3d-1", "paper-2023"]
    assert "batches of 8" in table.blocks[1].header
    (note,) = (text for text in table.footnotes if "encoding" in text)
    assert note.startswith(f"a: {TRUTH_ENCODED}")


@pytest.mark.parametrize(("value", "title"), [(2.5, "blurred by 1"), (None, "real training cases")])
def test_blurred_test_cases_stand_beside_real_ones_where_they_were_scored(tmp_path: Path, value, title: str) -> None:
    status = "na" if value is None else "ok"
    blurred = row("paper-2023", "density_blurred", value, note="blurred by 1", status=status, **MEAN)
    real = row("paper-2023", "density_baseline", 1.1, **MEAN)
    add(tmp_path, [row("paper-2023", "density", 1.2, **MEAN), real, blurred])
    (table,) = [table for table in build_tables("all", read_results(tmp_path)) if table.id == "b-3d"]
    last = table.blocks[0].references[-1]
    assert last.title == title
    assert [cell.value for cell in last.cells if cell.metric == "density"] == [value or 1.1]


def test_the_committed_audit_is_of_todays_definitions() -> None:
    """`bench audit RUN --readme results/audit.md` writes it again."""
    text = Path(__file__).parents[2].joinpath("results", "audit.md").read_text("utf-8")
    block = text.partition("<!-- audit -->")[2].partition("<!-- /audit -->")[0]
    heads = re.findall(r" ([^|]+) \(([0-9a-f]{8})\) ", block)
    today = {(p.title or p.id, p.sha256()[:8]) for p in list_definitions()}
    assert heads
    assert [head for head in heads if (head[0].strip(), head[1]) not in today] == []
    assert "PSNR, dB" in block
