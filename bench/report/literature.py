"""The reported numbers of the field as one dot plot by method and definition of PSNR, and those measured here apart."""

from collections import defaultdict
from dataclasses import dataclass

from markupsafe import Markup

from bench.metrics import METRICS
from bench.report.charts import Cloud, draw_cloud_chart
from bench.results.literature import NOTE, draw_ours, draw_reports, read_literature, say_method
from bench.results.model import Results
from bench.results.renderers import Sheet

HERE = "measured here, by protocol and data"


@dataclass(frozen=True)
class LiteratureView:
    """The plot, what its colours mean, in the order of its parts, and the lines behind it."""

    chart: Markup
    legend: tuple[tuple[int, str], ...]  # colour, definition; 0 is what was measured here
    sheets: tuple[Sheet, ...]
    note: str


def view_literature(results: Results) -> LiteratureView:
    """Return the plot of all reports, a part a definition, and of the data sets they are of, what was measured here.

    Raises BenchError for a file of reports that was edited or cut.
    """
    reports = read_literature()
    dots: dict[str, dict[str, list[tuple[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for one in reports:
        if one.psnr_db:
            dots[one.psnr_definition][say_method(one)].append((one.reported_by, float(one.psnr_db)))
    ours = draw_ours(results, reports)
    here: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for title, psnr, _, protocol, data in ours.lines:
        if psnr != "–":
            here[title].append((f"{protocol}, {data}", float(psnr)))
    definitions = sorted(dots, key=lambda name: (-len(dots[name]), name))
    groups = [
        [Cloud(method, colour, values, None, None) for method, values in sorted(dots[name].items())]
        for colour, name in enumerate(definitions, start=1)
    ]
    groups.append([Cloud(title, 0, values, None, None) for title, values in sorted(here.items())])
    chart = draw_cloud_chart(groups, METRICS["psnr"].name, 2, "PSNR that papers report, by method and definition")
    legend = [*enumerate(definitions, start=1), *([(0, HERE)] if here else [])]
    return LiteratureView(chart, tuple(legend), (draw_reports(reports), *([ours] if ours.lines else [])), NOTE)
