"""What the studies in a folder of results measured, as Markdown: a folded table a study, without a conclusion."""

from pathlib import Path

from bench.metrics.stats import LEVEL
from bench.report.records import StudyView, view_studies
from bench.results.renderers import draw_markdown
from bench.system.generated import Generated, has_block

BLOCK = "studies"
NOTHING = "No study has been run yet."
NOTE = (
    f"Changes and intervals ({LEVEL:.0%}, bootstrap) are over the cases, of the training that a line names. "
    "They say nothing of other trainings, so no study here tells which of two methods is better."
)


def generate_studies(results_dir: Path, out: Path) -> list[Generated]:
    """Return the block of studies in a file, where it has one."""
    return [Generated(out, write_studies(results_dir), BLOCK)] if has_block(out, BLOCK) else []


def write_studies(results_dir: Path) -> str:
    """Return the text of the block; a study that cannot be read is named with the reason."""
    parts = [_write_study(study) for study in view_studies(results_dir)]
    return "\n\n".join([NOTE, *parts]) if parts else NOTHING


def _write_study(study: StudyView) -> str:
    name = f"{study.question} {study.facts} (`{study.name}`)" if study.question else f"`{study.name}`"
    notes = [f"- {note}" for note in study.notes]
    drawn = draw_markdown(study.sheet) if study.sheet and study.sheet.lines else study.reason
    parts = [f"<summary>{name}</summary>", *(["\n".join(notes)] if notes else []), drawn]
    return "<details>\n" + "\n\n".join(parts) + "\n\n</details>"
