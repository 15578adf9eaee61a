"""All that is generated into the repository: leaderboard, findings, performance, and their blocks in the README."""

from pathlib import Path

from bench.performance.report import BLOCK as PERFORMANCE
from bench.performance.report import generate_performance
from bench.report.leaderboard_page import generate_page
from bench.results.findings import BLOCK as FINDINGS
from bench.results.findings import generate_findings
from bench.results.leaderboard import BLOCK as LEADERBOARD
from bench.results.leaderboard import DEFAULT_BY, generate_leaderboard
from bench.results.model import read_results
from bench.scoring import DEFAULT
from bench.study.verdicts import generate_verdicts
from bench.system.generated import Generated, has_block


def generate_all(results_dir: Path, out: Path, readme: Path, protocol: str = DEFAULT) -> list[Generated]:
    """Return every text that is made from a folder of results alone, for the folder `out` and the blocks of a README.

    A block the README lacks is left out. `protocol` is the one that the findings are of.
    The audit's block is not among them: it is made from a run's predictions, by `bench audit RUN --readme README`.
    """
    results = read_results(results_dir)
    return [
        *generate_leaderboard(results, DEFAULT_BY, out / "leaderboard.md", _if_marked(readme, LEADERBOARD)),
        generate_page(results, results_dir, out / "leaderboard.html"),
        *generate_findings(results, out / "FINDINGS.md", _if_marked(readme, FINDINGS), protocol),
        *generate_verdicts(results_dir, out / "FINDINGS.md"),
        *generate_performance(results_dir, out, _if_marked(readme, PERFORMANCE)),
    ]


def _if_marked(readme: Path, block: str) -> Path | None:
    return readme if has_block(readme, block) else None
