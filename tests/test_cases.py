"""Cases by name: the place, the truth and the views of one; and of a name that is none, the names there are."""

import numpy as np
import pytest
import torch

from bench.errors import UsageError

from .helpers.toy_data import make_data


def test_the_truth_of_a_case_is_its_window_on_the_unit_range_in_double_precision() -> None:
    cases = make_data(window=(-500.0, 300.0))["test"]
    truth = cases.truth("test-003")
    hounsfield = cases.hounsfield[3]
    inside = (hounsfield > -500) & (hounsfield < 300)
    assert cases.index("test-003") == 3
    assert truth.dtype == np.float64
    assert (truth.min(), truth.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(truth[inside], (hounsfield[inside] + 500.0) / 800.0)


def test_a_case_that_is_none_is_named_beside_one_that_is() -> None:
    with pytest.raises(UsageError, match="no case 'test-9' in the split test; cases are named like test-000"):
        make_data()["test"].truth("test-9")


def test_views_move_to_a_device_and_stay_the_same_views() -> None:
    views = make_data()["test"].views([2, 0])
    moved = views.to("meta")
    assert {moved.images.device, moved.angles.device} == {torch.device("meta")}
    assert (moved.images.shape, moved.mirrored, moved.geometry) == (views.images.shape, (True, False), views.geometry)
    assert torch.equal(views.to("cpu").images, views.images)
