"""Numbers that can be measured on any CT volume, and how far two views, or however many, determine them.

Each is measured on samples and on the truth by the same function, so that no bias of a measure enters. Orthogonal views
fix the spreads along H and W but not how the two go together: that `diagonal` is what they leave open first.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LIGHT_HU, SOFT_HU, DENSE_HU = (-950.0, -500.0), (-200.0, 200.0), 300.0  # lungs or cloth; tissue or water; bone or metal
AIR_HU = -1000.0
VIEW_PIXELS = 16  # a side, to which views are averaged for the regression
STRENGTHS = np.logspace(-1, 7, 33)  # of the penalty, of which the best in leave-one-out is taken


def measure_factors(hounsfield: np.ndarray, voxel_mm: float) -> dict[str, float]:
    """Return factors of a volume (D, H, W) in HU: mm, litres, HU, or a correlation; NaN where there is none to measure.

    `width` and `depth` are those of an even slab with the spread of the mass above air along W and H; `diagonal` is
    the correlation of H and W under that mass.
    """
    hounsfield = hounsfield.astype(np.float64)
    plane = np.clip(hounsfield - AIR_HU, 0, None).sum(0)
    litres = voxel_mm**3 / 1e6
    light = (hounsfield > LIGHT_HU[0]) & (hounsfield < LIGHT_HU[1])
    soft = (hounsfield > SOFT_HU[0]) & (hounsfield < SOFT_HU[1])
    depth, width, diagonal = _moments(plane, voxel_mm)
    return {
        "width, mm": width,
        "depth, mm": depth,
        "diagonal": diagonal,
        "mean, HU": float(hounsfield.mean()),
        "light part, l": float(light.sum() * litres),
        "light part, HU": _mean(hounsfield[light]),
        "soft part, HU": _mean(hounsfield[soft]),
        "dense part, l": float((hounsfield > DENSE_HU).sum() * litres),
    }


def predict_from_views(train_views: np.ndarray, train_values: np.ndarray, test_views: np.ndarray) -> np.ndarray:
    """Return a factor (M,) of test cases by ridge regression on views (N, V, h, w), from training cases' values (N,).

    Its error bounds from above what the views leave open: a better regression could err less.
    """
    model = make_pipeline(StandardScaler(), RidgeCV(STRENGTHS))
    model.fit(_pixels(train_views), train_values)
    return np.asarray(model.predict(_pixels(test_views)))


def find_drawn_factor(measured: np.ndarray, drawn: Sequence[dict[str, float]]) -> tuple[str, float]:
    """Return the drawn factor of phantoms that a measured one (N,) follows most closely, and their correlation."""
    names = [name for name in drawn[0] if all(name in one for one in drawn)]
    values = np.array([[one[name] for name in names] for one in drawn])
    varying = values.std(0) > 0
    if not varying.any() or not measured.std() > 0:
        return "", 0.0
    centred = values[:, varying] - values[:, varying].mean(0)
    deviation = measured - measured.mean()
    r = deviation @ centred / (np.linalg.norm(centred, axis=0) * np.linalg.norm(deviation))
    best = int(np.abs(r).argmax())
    return str(np.array(names)[varying][best]), float(r[best])


def _moments(plane: np.ndarray, voxel_mm: float) -> tuple[float, float, float]:
    """Depth and width in mm, and the correlation of H and W under a mass (H, W)."""
    if not plane.sum() > 0:
        return float("nan"), float("nan"), float("nan")
    share = plane / plane.sum()
    h, w = np.arange(plane.shape[0]) * voxel_mm, np.arange(plane.shape[1]) * voxel_mm
    away_h, away_w = h - share.sum(1) @ h, w - share.sum(0) @ w
    spread_h, spread_w = np.sqrt(share.sum(1) @ away_h**2), np.sqrt(share.sum(0) @ away_w**2)
    product = spread_h * spread_w
    correlation = float(away_h @ share @ away_w / product) if product > 0 else float("nan")
    return float(np.sqrt(12) * spread_h), float(np.sqrt(12) * spread_w), correlation


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _pixels(views: np.ndarray) -> np.ndarray:
    """Views (N, V, h, w) as rows of at most VIEW_PIXELS² pixels a view."""
    step = max(1, views.shape[-1] // VIEW_PIXELS)
    side = views.shape[-1] // step * step
    cut = views[..., :side, :side].reshape(*views.shape[:2], side // step, step, side // step, step)
    return cut.mean((3, 5)).reshape(len(views), -1)
