"""The Numenta benchmark's score by hand and against a loop over thresholds and rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsrec_models.base import ModelError
from tsrec_models.evaluation.nab import PROFILES, Labelled, best_threshold, probation, row_weights, score_at

NAB = Path(__file__).parents[3].parent / "shared" / "data" / "nab"


def sigmoid(x):
    return 2 / (1 + math.exp(5 * x)) - 1


def slow(files, threshold, profile):
    """The rules in words: earliest detection of a window, each false positive by its distance, misses."""
    raw, windows = 0.0, 0
    for file in files:
        n = len(file.scores)
        hits = [i for i in range(n) if file.scores[i] >= threshold and i >= min(int(0.15 * n), 750)]
        for first, last in file.windows:
            windows += 1
            inside = [i for i in hits if first <= i <= last]
            if inside:
                raw += profile.true_positive * sigmoid(-(last - inside[0] + 1) / (last - first + 1)) / sigmoid(-1)
            else:
                raw -= profile.false_negative
        for i in hits:
            if any(first <= i <= last for first, last in file.windows):
                continue
            before = [w for w in file.windows if w[1] < i]
            if not before:
                raw -= profile.false_positive
                continue
            first, last = before[-1]
            position = (i - last) / max(last - first, 1)
            raw += profile.false_positive * (-1 if position >= 3 else sigmoid(position))
    perfect, nothing = profile.true_positive * windows, -profile.false_negative * windows
    return 100 * (raw - nothing) / (perfect - nothing)


def test_worth_is_the_papers_sigmoid():
    """0.98661 at the left edge is 1 after scaling; 0.84828 in the middle; -0.98661 one width after; -1 beyond three."""
    worth, inside = row_weights(1000, [(100, 199)])
    assert worth[0] == -1.0
    assert worth[100] == pytest.approx(1.0)
    assert worth[150] == pytest.approx(0.84828 / 0.98661, abs=1e-4)
    assert worth[199 + 99] == pytest.approx(-0.98661, abs=1e-5)
    assert worth[199 + 3 * 99] == -1.0
    assert inside[99:201].tolist() == [-1, *[0] * 100, -1]


def test_a_hand_computed_file():
    scores = np.zeros(200)
    scores[[5, 60, 110, 112, 130]] = 0.9  # in probation (30 rows), false, hit, second hit, just after
    file = Labelled("a", scores, ((100, 119), (150, 169)))
    hit = (2 / (1 + math.exp(-5 * 10 / 20)) - 1) / sigmoid(-1)
    raw = -0.11 + hit + 0.11 * sigmoid(11 / 19) - 1.0
    assert score_at([file], 0.5, PROFILES["standard"]) == pytest.approx(100 * (raw + 2) / 4)
    raw = -0.22 + hit + 0.22 * sigmoid(11 / 19) - 1.0
    assert score_at([file], 0.5, PROFILES["low_fp"]) == pytest.approx(100 * (raw + 2) / 4)
    raw = -0.11 + hit + 0.11 * sigmoid(11 / 19) - 2.0
    assert score_at([file], 0.5, PROFILES["low_fn"]) == pytest.approx(100 * (raw + 4) / 6)


def test_silence_is_0_and_the_first_row_of_each_window_100():
    perfect = np.zeros(400)
    perfect[[100, 200]] = 1.0
    windows = ((100, 140), (200, 250))
    for profile in PROFILES.values():
        assert score_at([Labelled("a", np.zeros(400), windows)], 0.5, profile) == 0.0
        assert score_at([Labelled("a", perfect, windows)], 0.5, profile) == pytest.approx(100.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(list(PROFILES)), st.integers(1, 3))
def test_scores_and_the_best_threshold_equal_the_rules_tried_one_by_one(seed, name, n_files):
    rng = np.random.default_rng(seed)
    files = []
    for k in range(n_files):
        n = int(rng.integers(60, 150))
        first = int(rng.integers(0.15 * n, n - 30))
        windows = ((first, first + int(rng.integers(0, 10))), (first + 12, first + int(rng.integers(12, 25))))
        files.append(Labelled(str(k), np.round(rng.random(n) ** 4, 2), windows))
    profile = PROFILES[name]
    thresholds = sorted({float(s) for f in files for s in f.scores[probation(len(f.scores)) :]} | {1.1})
    expected = {t: slow(files, t, profile) for t in thresholds}
    for t in thresholds[::7]:
        assert score_at(files, t, profile) == pytest.approx(expected[t])
    best, threshold = best_threshold(files, profile)
    assert best == pytest.approx(max(expected.values()))
    assert expected[threshold] == pytest.approx(best)


def test_probation_is_15_percent_and_at_most_750_rows():
    assert (probation(4032), probation(22695), probation(1127)) == (604, 750, 169)


def test_the_benchmarks_own_null_detector_has_its_published_score():
    if not NAB.is_dir():
        pytest.skip("needs ../shared/data/nab")
    windows = sum(len(w) for w in json.loads((NAB / "labels" / "combined_windows.json").read_text()).values())
    published = json.loads((NAB / "config" / "thresholds.json").read_text())["null"]
    ours = {"standard": "standard", "low_fp": "reward_low_FP_rate", "low_fn": "reward_low_FN_rate"}
    profiles = json.loads((NAB / "config" / "profiles.json").read_text())
    for name, theirs in ours.items():
        costs = profiles[theirs]["CostMatrix"]
        profile = PROFILES[name]
        assert (profile.true_positive, profile.false_positive, profile.false_negative) == (
            costs["tpWeight"], costs["fpWeight"], costs["fnWeight"],
        )  # fmt: skip
        assert -profile.false_negative * windows == published[theirs]["score"]


@pytest.mark.parametrize("windows", [[(5, 300)], [(10, 20), (20, 30)], [(20, 10)]])
def test_windows_that_cannot_be_are_refused(windows):
    with pytest.raises(ModelError, match="within, ascending and apart"):
        row_weights(100, windows)


def test_without_a_window_there_is_no_score():
    with pytest.raises(ModelError, match="no file has a labelled window"):
        best_threshold([Labelled("a", np.zeros(10), ())], PROFILES["standard"])
