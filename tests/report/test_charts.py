"""Charts of the report: curves are those of the log, and lines, clouds and axes lie where their values are."""

import re
from pathlib import Path

import numpy as np
import pytest

from bench.pipeline.trainlog import TrainLog
from bench.report.charts import Cloud, Line, draw_cloud_chart, draw_line_chart, fit_axis
from bench.report.plots import read_curves
from bench.runs.folder import RunFolder


def test_curves_are_what_the_training_log_wrote(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    log = TrainLog(folder, "first", every=2)
    for step in (2, 4, 6):
        log.write(step, {"loss": 1.0 / step})
    log.flush()
    assert read_curves(folder.train_csv) == {("first", "loss"): [(2, 0.5), (4, 0.25), (6, pytest.approx(1 / 6, 1e-5))]}


def test_lines_lie_where_their_values_are() -> None:
    chart = str(draw_line_chart([Line("a", 1, [(0, 1.0), (5, float("nan")), (10, 100.0)])], "step", "loss", "title"))
    path = re.search(r'd="M([\d.]+),([\d.]+)L([\d.]+),([\d.]+)"', chart)  # two points: the third is not finite
    ticks = dict(re.findall(r'y="([\d.]+)" text-anchor="end">(\S+?)</text>', chart))
    places = {float(text): float(y) - 4 for y, text in ticks.items()}
    assert float(path[2]) == pytest.approx(places[1.0], abs=0.2)  # a logarithmic axis
    assert float(path[4]) == pytest.approx(places[100.0], abs=0.2)
    assert places[10.0] == pytest.approx((places[1.0] + places[100.0]) / 2, abs=0.2)
    assert draw_line_chart([Line("a", 1, [(0, float("inf"))])], "step", "loss", "title") == ""


def test_a_cloud_is_centred_on_its_values() -> None:
    values = [(f"case {index}", float(index)) for index in range(5)]
    chart = str(draw_cloud_chart([[Cloud("m", 1, values, 2.0, (1.0, 3.0))], []], "PSNR", 2, "title"))
    dots = [float(x) for x in re.findall(r'cx="([\d.]+)"', chart)]
    assert np.allclose(np.diff(dots), dots[1] - dots[0], atol=0.2)
    assert f'class="mean" x1="{dots[2]:.1f}"' in chart
    assert f'class="interval" x1="{dots[1]:.1f}" x2="{dots[3]:.1f}"' in chart


def test_an_axis_of_one_value_has_a_width() -> None:
    axis = fit_axis([5.0], 0.0, 100.0)
    assert axis(5.0) == pytest.approx(50.0)
    assert fit_axis([-1.0, 1000.0], 0.0, 100.0, log=True).log is False
