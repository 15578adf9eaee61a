"""The studies in results/studies: the picture of each, its numbers, and what is damaged."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.report.markup import data_uri
from bench.results.renderers import Sheet
from bench.study.catalogue import STUDIES
from bench.study.points import draw_sheet, read_study

PNG = b"\x89PNG\r\n\x1a\n"
MOST_BYTES = 2 * 2**20  # of one picture


@dataclass(frozen=True)
class StudyView:
    """One study: its question, its picture as a data: address, its numbers, notes of its settings, or a reason."""

    name: str
    question: str = ""
    facts: str = ""
    picture: str = ""
    sheet: Sheet | None = None
    notes: tuple[str, ...] = ()
    reason: str = ""


def view_studies(results_dir: Path) -> Iterator[StudyView]:
    """Yield every CSV of results/studies, by name."""
    for path in sorted((results_dir / "studies").glob("*.csv")):
        try:
            yield _view_study(path)
        except BenchError as error:
            yield StudyView(path.stem, reason=str(error))


def _view_study(path: Path) -> StudyView:
    recorded = read_study(path)
    study = STUDIES.get(recorded.study)
    shown = study.metrics if study else [summary.metric for summary in recorded.summaries]
    facts = "{dataset} · {source} data · {preset}".format(**recorded.facts)
    picture, reason = _read_picture(path.with_suffix(".png"))
    question, sheet = study.question if study else recorded.study, draw_sheet(recorded.summaries, shown)
    return StudyView(path.stem, question, facts, picture, sheet, recorded.notes, reason)


def _read_picture(path: Path) -> tuple[str, str]:
    """The data: address of a PNG, or why there is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", f"no picture: {path.name}: {error.strerror}"
    if not content.startswith(PNG):
        return "", f"no picture: {path.name} is no PNG"
    if len(content) > MOST_BYTES:
        return "", f"no picture: {path.name} is larger than {MOST_BYTES // 2**20} MiB"
    return data_uri(content, "image/png"), ""
