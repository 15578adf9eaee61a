"""new_method trains, reconstructs and knows more than the mean of the training volumes. Run with: pytest FILE"""

from pathlib import Path

from bench import load_results
from bench.cli import run_command

METHOD = Path(__file__).with_name("new_method.py")
SEED = 0


def test_new_method_beats_the_mean_volume(tmp_path: Path) -> None:
    quickest = ["--dataset", "lidc", "--preset", "smoke", "--source", "phantom", "--protocol", "x2ct-2019"]
    options = ["--method", f"mean,{METHOD}:NewMethod", *quickest, "--seed", str(SEED)]
    folders = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path)]
    assert run_command(["run", *options, *folders]) == 0
    scores = load_results(tmp_path).query("metric == 'psnr' and space == '3d' and stat == 'mean'")
    psnr = scores.set_index("method")["value"]
    assert psnr["new_method"] > psnr["mean"] + 0.5  # dB
