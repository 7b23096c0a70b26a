import datetime

import numpy as np
import pytest

from tsrec_models.preparation import Log, LogError
from tsrec_models.preparation.features import TIME_FEATURES, gaps, item_features, time_features


def at(*moments):
    times = [datetime.datetime(*moment, tzinfo=datetime.UTC).timestamp() for moment in moments]
    return Log.from_arrays([0] * len(times), range(len(times)), times)


def column(features, name):
    return features[:, TIME_FEATURES.index(name)].tolist()


def test_hours_and_weekdays_are_points_on_circles():
    features = time_features(at((2024, 8, 5, 0), (2024, 8, 6, 6), (2024, 8, 10, 12)))  # Monday, Tuesday, Saturday
    np.testing.assert_allclose(column(features, "sin_hour"), [0, 1, 0], atol=1e-5)
    np.testing.assert_allclose(column(features, "cos_hour"), [1, 0, -1], atol=1e-5)
    np.testing.assert_allclose(column(features, "cos_weekday"), np.cos([0, 2 * np.pi / 7, 10 * np.pi / 7]), atol=1e-5)
    assert column(features, "weekend") == [0, 0, 1]


def test_an_offset_moves_to_the_users_clock():
    features = time_features(at((2024, 8, 9, 22)), utc_offset_s=3 * 3600)
    assert column(features, "weekend") == [1]


def test_gaps_are_within_a_user():
    log = Log.from_arrays([0, 0, 1, 1], [1, 2, 3, 4], [10.0, 15.0, 100.0, 102.0])
    assert gaps(log).tolist() == [0, 5, 0, 2]
    assert gaps(Log.from_arrays([], [])).tolist() == []


def test_time_features_need_times():
    with pytest.raises(LogError, match="only an order"):
        time_features(Log.from_arrays([0], [0]))


ITEM_IDS = np.array(["b", "a", "x", "c"])


def features(**options):
    table = {
        "ids": ["a", "b", "c", "elsewhere"],
        "category": ["shoes", "hats", "shoes", "socks"],
        "price": [10.0, 1000.0, None, 3.0],
        "title": ["Red shoe", "red hat", None, "red sock"],
    }
    return item_features(ITEM_IDS, **(table | options))


def test_features_follow_the_numbering_of_the_log():
    found = features()
    assert [found.categories[c] if c >= 0 else None for c in found.category] == ["hats", "shoes", None, "shoes"]


def test_a_missing_price_is_that_of_its_category():
    found = features()
    assert found.log_price[3] == found.log_price[1]
    assert found.log_price[0] == found.log_price.max()
    assert found.log_price.mean() == pytest.approx(0, abs=1e-6)
    assert found.log_price.std() == pytest.approx(1, abs=1e-6)


def test_impossible_prices_count_as_missing():
    assert features(price=[10.0, 1000.0, -5.0, 3.0]).log_price.tolist() == features().log_price.tolist()


def test_words_of_a_single_title_are_left_out():
    found = features()
    assert found.vocabulary.tolist() == ["red"]
    np.testing.assert_allclose(found.words.toarray(), [[1], [1], [0], [0]])
    assert features(rarest=1).vocabulary.tolist() == ["hat", "red", "shoe"]


def test_rare_words_weigh_more_and_rows_have_length_one():
    found = features(rarest=1)
    dense = found.words.toarray()
    assert dense[1, 2] > dense[1, 1]
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), [1, 1, 0, 0], rtol=1e-5)


def test_content_puts_everything_side_by_side():
    found = features()
    assert found.content().toarray().shape == (4, 2 + 1 + 1)
    nothing = item_features(ITEM_IDS, ids=[])
    assert nothing.content().toarray().tolist() == [[0], [0], [0], [0]]


def test_columns_of_another_length_are_refused():
    with pytest.raises(LogError, match="values of price"):
        features(price=[1.0])
    with pytest.raises(LogError, match="mean or interpolate"):
        features(missing_price="drop")
