"""Credit: figures, points, reasons, fairness, and that nothing leaks from the rows that are scored."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression

from tsrec_models.evaluation.credit import cross_validate, ks
from tsrec_models.evaluation.credit_reading import Applications, read_applications
from tsrec_models.evaluation.fraud import roc_auc
from tsrec_models.risk.credit import CreditScorer, PointsScale, _logistic, stratified_folds
from tsrec_models.risk.credit_encoding import CreditError, Encoder
from tsrec_models.risk.fairness import gaps, group_rates

GERMAN = Path(__file__).resolve().parents[4] / "shared" / "data" / "credit" / "german_credit.csv"


def applicants(seed: int, n: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    table, bad, _ = applicants_and_odds(seed, n)
    return table, bad


def applicants_and_odds(seed: int, n: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    income, age = rng.lognormal(10, 0.5, n), rng.uniform(20, 70, n)
    job = rng.choice(["clerk", "nurse", "none"], n, p=[0.5, 0.3, 0.2])
    odds = -1.0 - 1.5 * (np.log(income) - 10) + 1.2 * (job == "none") - 0.02 * (age - 45)
    bad = rng.random(n) < 1 / (1 + np.exp(-odds))
    income[rng.random(n) < 0.05] = np.nan
    return {"income": income, "age": age, "job": job.astype(object), "noise": rng.normal(size=n)}, bad, odds


@pytest.fixture(scope="module")
def scorer() -> CreditScorer:
    return CreditScorer.fit(*applicants(0, 1500))


def test_ridge_logistic_equals_sklearns() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5))
    y = (rng.random(400) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    theirs = LogisticRegression(C=1 / 7.0, tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(_logistic(x, y, 7.0), [*theirs.coef_[0], theirs.intercept_[0]], atol=1e-4)


def test_folds_hold_equal_shares_of_bad_cases() -> None:
    bad = np.arange(103) < 31
    fold = stratified_folds(bad, 5, 0)
    assert {int(bad[fold == k].sum()) for k in range(5)} <= {6, 7}
    assert sorted(np.bincount(fold).tolist()) == [20, 20, 20, 21, 22]


@pytest.mark.parametrize("seed", range(3))
def test_ks_equals_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random(300) < 0.3
    p = np.round(rng.random(300) + 0.2 * y, 1 if seed else 5)
    assert ks(p, y) == pytest.approx(ks_2samp(p[y], p[~y]).statistic)


def test_points_double_odds_by_their_step() -> None:
    scale = PointsScale(base=600, odds=30, double=20)
    assert scale.points(1 / 31) == pytest.approx(600)
    assert scale.points(1 / 61) == pytest.approx(620)
    assert scale.worth(math.log(2)) == pytest.approx(20)


def test_the_score_of_one_equals_that_of_many(scorer: CreditScorer) -> None:
    table, _ = applicants(1, 20)
    many = scorer.predict(table)
    for i in range(20):
        one = scorer.score({name: column[i] for name, column in table.items()})
        assert one.probability == pytest.approx(many[i], rel=1e-12)
        assert one.points == round(scorer.scale.points(many[i]))


def test_reasons_name_what_costs_points_and_what_it_costs(scorer: CreditScorer) -> None:
    poor = scorer.score({"income": 8_000.0, "age": 45.0, "job": "clerk", "noise": 0.0})
    rich = scorer.score({"income": 60_000.0, "age": 45.0, "job": "clerk", "noise": 0.0})
    assert poor.reasons[0][0] == "income"
    assert poor.reasons[0][2] == 8_000.0
    assert rich.points > poor.points + 15
    assert all(name != "income" for name, _, _ in rich.reasons)
    jobless = scorer.score({"income": 22_000.0, "age": 45.0, "job": "none", "noise": 0.0})
    assert jobless.reasons[0][0] == "job"


def test_the_costs_of_all_fields_add_up_to_the_distance_from_the_average(scorer: CreditScorer) -> None:
    trees, linear = scorer.encoder.encode_one({"income": 9_000.0, "age": 30.0, "job": "none", "noise": 1.0})
    other_trees, other = scorer.encoder.encode_one({"income": 50_000.0, "age": 60.0, "job": "nurse", "noise": 0.0})
    apart = scorer._margin(trees, linear)[0] - scorer._margin(other_trees, other)[0]
    costs = sum(scorer._costs(trees, linear).values()) - sum(scorer._costs(other_trees, other).values())
    assert costs == pytest.approx(scorer.scale.worth(scorer.calibration.slope * apart), rel=1e-6)


def test_more_income_never_lowers_the_trees_score_where_the_data_are_monotone() -> None:
    table, bad = applicants(2, 1500)
    encoder = Encoder.fit(table, bad)
    assert encoder.by_name["income"].sign == -1
    assert encoder.by_name["noise"].sign == 0
    model = CreditScorer.fit(table, bad)
    points = [
        model.score({"income": x, "age": 40.0, "job": "clerk", "noise": 0.0}).points for x in np.geomspace(5e3, 2e5, 30)
    ]
    assert all(b >= a for a, b in itertools.pairwise(points))


def test_fields_missing_or_never_seen_are_served_and_nonsense_is_refused(scorer: CreditScorer) -> None:
    assert 0 < scorer.score({}).probability < 1
    assert 0 < scorer.score({"income": None, "job": "astronaut"}).probability < 1
    with pytest.raises(CreditError, match="income"):
        scorer.score({"income": "a lot"})


def test_a_scorer_survives_its_files(scorer: CreditScorer, tmp_path: Path) -> None:
    scorer.save(tmp_path / "credit")
    again = CreditScorer.load(tmp_path / "credit")
    applicant = {"income": 9_000.0, "age": 30.0, "job": "none", "noise": 1.0}
    assert again.score(applicant) == scorer.score(applicant)
    assert not list((tmp_path / "credit").glob("*.pkl"))
    with pytest.raises(CreditError, match="no credit model"):
        CreditScorer.load(tmp_path / "nothing")


def test_a_feature_without_meaning_gives_no_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    n = 600
    table = {"a": rng.normal(size=n), "id": np.array([f"row{k}" for k in range(n)], dtype=object),
             "b": rng.choice(["x", "y", "z"], n).astype(object)}  # fmt: skip
    figures = cross_validate(Applications(table, rng.random(n) < 0.3, "1"))
    assert abs(figures.auc - 0.5) < 0.08


def test_figures_come_near_to_what_can_be_known() -> None:
    table, bad, odds = applicants_and_odds(3, 1200)
    figures = cross_validate(Applications(table, bad, "1"))
    assert roc_auc(odds, bad) - 0.03 < figures.auc < roc_auc(odds, bad) + 0.01
    assert figures.calibration_error < 0.05
    assert figures.best_f1 > figures.f1 - 0.02


@pytest.mark.skipif(not GERMAN.exists(), reason="the German credit data are not here")
def test_german_credit_reaches_what_is_known_of_it() -> None:
    data = read_applications(GERMAN, "creditability")
    assert (data.bad_value, int(data.is_bad.sum()), len(data.table)) == ("bad", 300, 20)
    figures = cross_validate(data, folds=2)  # half the rows to learn from: five folds are for the command
    assert figures.auc > 0.75
    assert figures.calibration_error < 0.05


@pytest.mark.parametrize(
    ("text", "bad", "expected"),
    [
        ("x,outcome\n1,good\n2,bad\n3,good\n", None, "bad"),
        ("x,outcome\n1,0\n2,1\n3,0\n", None, "1"),
        ("x,outcome\n1,a\n2,b\n3,a\n", None, "b"),
        ("x,outcome\n1,a\n2,b\n3,a\n", "a", "a"),
        ("x,outcome\n1,1.0\n2,2.0\n3,1.0\n", "2", "2"),
        ("x;outcome\n1;good\n?;bad\n3;good\n", None, "bad"),
        ("x\toutcome\n1\tTrue\n2\tFalse\n3\tFalse\n", None, "true"),
    ],
)
def test_which_value_is_bad(tmp_path: Path, text: str, bad: str | None, expected: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    assert read_applications(path, "outcome", bad).bad_value == expected


@pytest.mark.parametrize(
    ("text", "label", "why"),
    [
        ("x,y\n1,0\n2,1\n", "z", "no column 'z'"),
        ("x,y\n1,0\n2,1\n3,2\n", "y", "two values"),
        ("x,y\n1,0\n2,0\n", "y", "two values"),
    ],
)
def test_a_label_that_is_none_is_refused(tmp_path: Path, text: str, label: str, why: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(CreditError, match=why):
        read_applications(path, label)


def test_too_few_cases_are_refused() -> None:
    table, _ = applicants(0, 100)
    with pytest.raises(CreditError, match="twenty"):
        CreditScorer.fit(table, np.arange(100) < 5)


def test_group_rates_equal_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    p, bad, group = rng.random(500), rng.random(500) < 0.3, rng.choice(["a", "b"], 500)
    for rate in group_rates(p, bad, group, 0.6):
        mine = [(x >= 0.6, y) for x, y, g in zip(p, bad, group, strict=True) if g == rate.group]
        assert rate.n == len(mine)
        assert rate.selection == pytest.approx(sum(c for c, _ in mine) / len(mine))
        assert rate.true_positive == pytest.approx(sum(c for c, y in mine if y) / sum(y for _, y in mine))
        assert rate.false_positive == pytest.approx(sum(c for c, y in mine if not y) / sum(not y for _, y in mine))


def test_gaps_leave_out_groups_too_small_to_judge() -> None:
    p = np.concatenate([np.full(100, 0.9), np.full(100, 0.1), [0.1] * 3])
    group = np.repeat(["a", "b", "tiny"], [100, 100, 3])
    found = gaps(group_rates(p, np.resize([True, False], 203), group, 0.5))
    assert (found["selection"], found["acceptance_ratio"]) == (1.0, 0.0)
