"""Times as people write them, and the order they put rows into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.evaluation.times import in_order, parse_times

START = datetime(2023, 11, 28, 22, 30, tzinfo=UTC)
MOMENTS = [START + timedelta(hours=7 * k) for k in range(40)]
SECONDS = np.array([m.timestamp() for m in MOMENTS])


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M",
     "%Y/%m/%d %H:%M", "%b %d, %Y %H:%M", "%d-%b-%Y %I:%M %p"],
)  # fmt: skip
def test_each_way_of_writing_gives_the_same_seconds(form: str) -> None:
    np.testing.assert_array_equal(parse_times([m.strftime(form) for m in MOMENTS]), SECONDS)


@pytest.mark.parametrize("unit", [1, 1e3, 1e6, 1e9])
def test_numbers_are_seconds_or_parts_of_them_by_their_size(unit: float) -> None:
    np.testing.assert_allclose(parse_times([str(int(s * unit)) for s in SECONDS]), SECONDS)


def test_eight_digits_are_a_day() -> None:
    days = parse_times(["20231130", "20231201"])
    assert days is not None
    assert np.diff(days) == 86_400.0
    assert days[1] == datetime(2023, 12, 1, tzinfo=UTC).timestamp()


def test_a_zone_counts() -> None:
    found = parse_times(["2024-01-01T12:00:00+02:00"])
    assert found is not None
    assert found[0] == datetime(2024, 1, 1, 10, tzinfo=UTC).timestamp()


def test_day_and_month_are_told_apart_by_the_order_of_the_rows() -> None:
    # Each text is a day in both ways; only as day/month do they run forwards.
    days = [datetime(2023, month, day, tzinfo=UTC) for month in (1, 2, 3) for day in range(1, 13)]
    found = parse_times([d.strftime("%d/%m/%Y") for d in days])
    np.testing.assert_array_equal(found, [d.timestamp() for d in days])


def test_what_is_no_time_is_none_and_what_is_half_of_it_is_named() -> None:
    assert parse_times(["red", "green"]) is None
    assert parse_times([]) is None
    with pytest.raises(ModelError, match="row 2: 'soon' is not a time"):
        parse_times(["2024-01-01", "soon"], "f.csv: ")


def test_rows_are_ordered_by_time_and_ties_stay_as_they_came() -> None:
    assert in_order(np.array([1.0, 1.0, 2.0])) is None
    # Backwards all the way: those of one time were written backwards too.
    np.testing.assert_array_equal(in_order(np.array([2.0, 1.0, 1.0])), [2, 1, 0])
    np.testing.assert_array_equal(in_order(np.array([2.0, 1.0, 3.0, 1.0])), [1, 3, 0, 2])
