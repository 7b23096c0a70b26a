"""Card fraud: features against slow windows over the whole past, no label before its time, figures against sklearn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tsrec_models.evaluation.fraud import Transactions, average_precision, card_precision, folds, roc_auc, rolled
from tsrec_models.evaluation.fraud_reading import read_transactions
from tsrec_models.risk.fraud_features import FEATURES, FraudError, FraudFeatures
from tsrec_models.risk.fraud_kernel import BUCKET_S, CARD_FEATURES, DELAY_DAYS, FAMILIAR, ODD_RATIO
from tsrec_models.risk.fraud_model import FraudModel
from tsrec_models.risk.fraud_sides import (
    CARD_WIDTH,
    MERCHANT_WIDTH,
    card_side,
    initial_card,
    label_cards,
    merchant_side,
)

DAY = 86_400.0
START = 1.7e9


def cards(seed: int, days: float, n: int, n_accounts: int = 12, n_merchants: int = 8) -> Transactions:
    """Random transactions with some frauds: odd amounts, and merchants gone bad for a while."""
    rng = np.random.default_rng(seed)
    ts = np.sort(START + rng.uniform(0, days * DAY, n))
    account, merchant = rng.integers(0, n_accounts, n), rng.integers(0, n_merchants, n)
    amount = rng.lognormal(3, 0.4, n)
    odd = rng.random(n) < 0.02
    bad = (merchant == ((ts - START) // (15 * DAY)).astype(int) % n_merchants) & (rng.random(n) < 0.8)
    return Transactions(ts, account, merchant, np.where(odd, amount * 5, amount), odd | bad)


def features(data: Transactions) -> np.ndarray:
    watch = FraudFeatures(n_accounts=1, n_merchants=1)
    return watch.replay(data.account, data.merchant, data.ts, data.amount, data.is_fraud)


def slow_features(data: Transactions) -> pd.DataFrame:
    """The same features, each from the whole past with pandas, one transaction at a time."""
    d = pd.DataFrame({"ts": data.ts, "a": data.account, "m": data.merchant, "x": data.amount, "y": data.is_fraud})
    d["b"] = np.floor(d.ts / BUCKET_S).astype(int)
    per_day = round(DAY / BUCKET_S)
    rows = []
    ratio = np.full(len(d), np.nan)
    for i, now in d.iterrows():
        past = d.iloc[:i]
        mine, there = past[past.a == now.a], past[past.m == now.m]
        with_now = d.iloc[: i + 1]
        mine_now, there_now = with_now[with_now.a == now.a], with_now[with_now.m == now.m]
        told = past[past.ts + DELAY_DAYS * DAY <= now.ts]
        f: dict[str, float] = {"amount": now.x}
        when = pd.Timestamp(now.ts, unit="s")
        f["hour"] = when.hour + when.minute / 60 + (when.second + when.microsecond / 1e6) / 3600
        f["is_night"], f["is_weekend"] = float(when.hour < 7), float(when.dayofweek >= 5)
        for days in (1, 7, 30):
            window = mine_now[mine_now.b > now.b - days * per_day]
            f[f"account_count_{days}d"], f[f"account_mean_{days}d"] = len(window), window.x.mean()
        lived = min(30.0, max(1.0, (now.ts - mine_now.ts.min()) / DAY))
        f["account_rate"] = f["account_count_1d"] / (f["account_count_30d"] / lived)
        usual, spread, odd = slow_habit(mine, now.ts)
        if len(mine) >= 2:
            ratio[i] = now.x / usual
        f["amount_to_usual"] = ratio[i]
        f["amount_deviation"] = (now.x - usual) / max(1.25 * spread, 0.05 * usual) if len(mine) >= 5 else math.nan
        f["odd_amounts"] = odd
        f["since_last"] = math.log1p(now.ts - mine.ts.iloc[-1]) if len(mine) else math.nan
        f["new_merchant"] = float(now.m not in slow_familiar(mine))
        mine_told = told[(told.a == now.a) & told.y]
        f["account_frauds"] = sum(2 ** ((t + DELAY_DAYS * DAY - now.ts) / (10 * DAY)) for t in mine_told.ts)
        f["merchant_count_1d"] = len(there_now[there_now.b > now.b - per_day])
        lived = min(30.0, max(1.0, (now.ts - there_now.ts.min()) / DAY))
        f["merchant_spike"] = f["merchant_count_1d"] / (len(there_now[there_now.b > now.b - 30 * per_day]) / lived)
        mean, var = slow_log_amounts(there)
        deviation = (math.log(now.x) - mean) / math.sqrt(var + 0.01)
        f["merchant_amount_deviation"] = deviation if len(there) >= 5 else math.nan
        end = now.b - DELAY_DAYS * per_day - 1
        for days in (1, 7, 30):
            window = there[(there.b <= end) & (there.b > end - days * per_day)]
            f[f"merchant_known_{days}d"] = len(window)
            f[f"merchant_risk_{days}d"] = window.y.mean() if len(window) else 0.0
        known = told[told.m == now.m]
        lately, ordinary, run, run_ts = 0.0, 0.0, 0, math.nan
        for j, k in known.iterrows():
            lately += (k.y - lately) / 5
            ordinary += (float(k.y and not ratio[j] > ODD_RATIO) - ordinary) / 5
            run_ts = k.ts if k.y and run == 0 else run_ts
            run = run + 1 if k.y else 0
        f["merchant_lately"], f["merchant_lately_ordinary"], f["merchant_run"] = lately, ordinary, run
        f["merchant_run_age"] = (now.ts - run_ts) / DAY if run else math.nan
        f["merchant_since_fraud"] = (now.ts - known.ts[known.y].iloc[-1]) / DAY if known.y.any() else math.nan
        rows.append(f)
    return pd.DataFrame(rows)[list(FEATURES)]


def slow_habit(mine: pd.DataFrame, now: float) -> tuple[float, float, float]:
    usual = spread = odd = last = 0.0
    for n, (ts, x) in enumerate(zip(mine.ts, mine.x, strict=True)):
        odd *= 2 ** ((last - ts) / (5 * DAY))
        odd += n >= 2 and x > ODD_RATIO * usual
        bounded = min(x, 3 * usual) if n >= 3 else x
        rate = max(1 / (n + 1), 1 / 60)
        usual += rate * (bounded - usual)
        spread += rate * (abs(bounded - usual) - spread)
        last = ts
    return usual, spread, odd * 2 ** ((last - now) / (5 * DAY))


def slow_familiar(mine: pd.DataFrame) -> list[int]:
    known: list[int] = []
    for m in mine.m:
        if m not in known:
            known = [*known, m][-FAMILIAR:]
    return known


def slow_log_amounts(there: pd.DataFrame) -> tuple[float, float]:
    mean = var = 0.0
    for n, x in enumerate(np.log(there.x)):
        rate = max(1 / (n + 1), 1 / 60)
        apart = x - mean
        mean += rate * apart
        var += rate * (apart * apart - var)
    return mean, var


@pytest.mark.parametrize(("seed", "days", "n"), [(0, 60, 400), (1, 9, 300), (2, 200, 300)])
def test_features_equal_slow_windows_over_the_whole_past(seed: int, days: int, n: int) -> None:
    data = cards(seed, days, n)
    slow = slow_features(data)
    fast = pd.DataFrame(features(data), columns=list(FEATURES))
    for name in FEATURES:
        np.testing.assert_allclose(fast[name], slow[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_stepping_in_batches_equals_the_replay() -> None:
    data = cards(3, 40, 500)
    whole = features(data)
    watch = FraudFeatures(n_accounts=1, n_merchants=1)
    due = 0
    rows = []
    for i in range(len(data.ts)):
        while due < i and data.ts[due] + 7 * DAY <= data.ts[i]:
            ratio = rows[due][0, FEATURES.index("amount_to_usual")]
            known = data.ts[due] + 7 * DAY
            watch.label(data.account[due], data.merchant[due], data.ts[due], bool(data.is_fraud[due]), ratio, known)
            due += 1
        part = slice(i, i + 1)
        rows.append(watch.update(data.account[part], data.merchant[part], data.ts[part], data.amount[part]))
    np.testing.assert_array_equal(np.concatenate(rows), whole)


def test_no_label_is_used_before_its_delay_has_passed() -> None:
    data = cards(4, 40, 600)
    at = 300
    turned = data.is_fraud.copy()
    turned[at:] = ~turned[at:]
    other = Transactions(data.ts, data.account, data.merchant, data.amount, turned)
    a, b = features(data), features(other)
    before = data.ts < data.ts[at] + 7 * DAY
    np.testing.assert_array_equal(a[before], b[before])
    assert np.any(np.nan_to_num(a[~before]) != np.nan_to_num(b[~before]))


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_those_of_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random(500) < 0.1
    p = np.round(rng.random(500) + 0.3 * y, 1 if seed % 2 else 6)  # ties in every other
    assert roc_auc(p, y) == pytest.approx(roc_auc_score(y, p))
    assert average_precision(p, y) == pytest.approx(average_precision_score(y, p))


def test_card_precision_counts_a_card_once_and_drops_it_when_found() -> None:
    p = np.array([0.9, 0.8, 0.1, 0.7, 0.6, 0.2])
    y = np.array([True, False, False, True, True, False])
    account = np.array([1, 1, 2, 1, 3, 2])
    day = np.array([0, 0, 0, 1, 1, 1])
    # Day 0: card 1 is found. Day 1: card 1 is out, card 3 is found.
    assert card_precision(p, y, account, day, 1) == 1.0
    assert card_precision(p, y, account, day, 2) == 0.5


def test_folds_do_not_touch_and_known_cards_leave_the_test() -> None:
    data = cards(5, 80, 4000, n_accounts=400)
    seen = 0
    for fold in folds(data):
        train_day, test_day = data.day[fold.train], data.day[fold.test]
        assert (train_day.min(), train_day.max()) == (fold.first_day, fold.first_day + 6)
        assert test_day.min() >= fold.first_day + 14
        assert test_day.max() <= fold.first_day + 20
        for day in range(fold.first_day + 14, fold.first_day + 21):
            frauds = data.is_fraud & (data.day >= fold.first_day) & (data.day < day - 7)
            assert not np.isin(data.account[fold.test[test_day == day]], data.account[frauds]).any()
        seen += 1
    assert seen == 5


def test_too_few_days_or_frauds_are_said_so() -> None:
    data = cards(6, 10, 100)
    with pytest.raises(FraudError, match="days"):
        list(folds(data))
    clean = cards(6, 60, 500)
    none = Transactions(clean.ts, clean.account, clean.merchant, clean.amount, np.zeros(500, bool))
    with pytest.raises(FraudError, match="no fold with 10 frauds"):
        rolled(none, lambda train, test: np.zeros(len(test)))
    with pytest.raises(FraudError, match="at least 10"):
        FraudModel.fit(np.zeros((50, len(FEATURES))), np.zeros(50, bool), np.arange(50.0))


def test_the_model_ranks_frauds_first_and_survives_its_files(tmp_path: Path) -> None:
    data = cards(7, 75, 8000, n_accounts=200, n_merchants=20)
    x = features(data)
    train, test = data.ts < START + 60 * DAY, data.ts >= START + 60 * DAY
    model = FraudModel.fit(x[train], data.is_fraud[train], data.ts[train])
    p = model.predict(x[test])
    base = average_precision(x[test, FEATURES.index("amount")], data.is_fraud[test])
    assert average_precision(p, data.is_fraud[test]) > base + 0.1
    assert abs(p.mean() - data.is_fraud[test].mean()) < 0.02
    model.save(tmp_path / "fraud")
    again = FraudModel.load(tmp_path / "fraud")
    np.testing.assert_allclose(again.predict(x[test]), p, rtol=1e-12)
    worst = int(np.argmax(p))
    reasons = model.reasons(x[test][worst : worst + 1])[0]
    assert reasons[0][1] >= reasons[-1][1] > 0
    with pytest.raises(FraudError, match="no fraud model"):
        FraudModel.load(tmp_path / "nothing")


@pytest.mark.parametrize("how", ["csv", "handbook", "mapped", "millis"])
def test_a_file_is_read_alike_under_any_names(tmp_path: Path, how: str) -> None:
    data = cards(8, 5, 50)
    d = pd.DataFrame(
        {
            "ts": data.ts.round(3),
            "account_id": [f"c{a}" for a in data.account],
            "merchant_id": data.merchant,
            "amount": data.amount,
            "label": data.is_fraud.astype(int),
        }
    )
    given = {}
    if how == "handbook":
        d.columns = ["TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"]
        d["TX_DATETIME"] = pd.to_datetime(d.TX_DATETIME, unit="s")
        d.sample(frac=1, random_state=0).to_parquet(tmp_path / "t.parquet")
    elif how == "mapped":
        d["label"] = np.where(data.is_fraud, "Fraud", "genuine")
        d = d.rename(columns={"ts": "when", "label": "class"})
        given = {"ts": "when", "label": "class"}
    elif how == "millis":
        d["ts"] = (d.ts * 1000).round().astype(int)
    path = tmp_path / ("t.parquet" if how == "handbook" else "t.csv")
    if how != "handbook":
        d.to_csv(path, index=False)
    read, dropped = read_transactions(path, given)
    assert dropped == 0
    np.testing.assert_allclose(read.ts, data.ts, atol=1e-3)
    np.testing.assert_array_equal(read.is_fraud, data.is_fraud)
    np.testing.assert_allclose(read.amount, data.amount)
    assert len(np.unique(read.account)) == len(np.unique(data.account))


def test_rows_with_something_missing_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("ts,account_id,merchant_id,amount,label\n1,a,b,5,0\n2,a,b,,1\n3,a,b,-4,0\n4,,b,4,0\n5,a,b,6,1\n")
    read, dropped = read_transactions(path)
    assert (len(read.ts), dropped) == (2, 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ts,account_id,merchant_id,amount\n1,a,b,5\n", "label"),
        ("ts,account_id,merchant_id,amount,label\n1,a,b,x,0\n", "amount"),
        ("ts,account_id,merchant_id,amount,label\n1,a,b,5,3\n", "0 and 1"),
        ("ts,account_id,merchant_id,amount,label\nsoon,a,b,5,0\n", "neither a time"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_column(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(FraudError, match=why):
        read_transactions(path)


@pytest.mark.parametrize("bad", [math.nan, -1.0])
def test_an_amount_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(FraudError):
        FraudFeatures().update(np.array([0]), np.array([0]), np.array([START]), np.array([bad]))


def test_a_card_of_nothing_but_zero_amounts_has_no_usual_one() -> None:
    n = 20
    ts, amount = 1.7e9 + 3600.0 * np.arange(n), np.zeros(n)
    zeros = np.zeros(n, np.int64)
    x = FraudFeatures().update(zeros, zeros, ts, amount)
    assert np.isnan(x[:, [FEATURES.index("amount_to_usual"), FEATURES.index("amount_deviation")]]).all()
    x = FraudFeatures().update(zeros, zeros, ts, np.where(np.arange(n) == n - 1, 5.0, 0.0))
    assert x[-1, FEATURES.index("amount")] == 5.0


def test_the_two_halves_of_the_features_are_the_whole() -> None:
    rng = np.random.default_rng(11)
    n, cards, merchants = 3000, 40, 15
    ts = 1.7e9 + np.sort(rng.uniform(0, 60 * 86_400.0, n))
    card, merchant = rng.integers(0, cards, n), rng.integers(0, merchants, n)
    amount = rng.lognormal(3, 1, n)
    is_fraud = rng.random(n) < 0.1
    whole = FraudFeatures()
    card_state = np.tile(initial_card(), (cards, 1)).reshape(cards, CARD_WIDTH)
    merchant_state = np.zeros((merchants, MERCHANT_WIDTH))
    codes = rng.integers(1, 2**62, merchants)  # a number that stands for a merchant, not its row
    for k in range(0, n, 250):
        part = slice(k, k + 250)
        expected = whole.update(card[part], merchant[part], ts[part], amount[part])
        first = card_side(card_state, card[part], codes[merchant[part]], ts[part], amount[part])
        got = merchant_side(
            merchant_state,
            merchant[part],
            ts[part],
            amount[part],
            np.full(250, -1, np.int8),
            np.full(250, np.nan),
            first,
        )
        np.testing.assert_allclose(got, expected)
        # Labels of this part become known before the next.
        known = np.full(250, ts[part][-1])
        to_usual = label_cards(card_state, card[part], amount[part], is_fraud[part], known)
        for i in range(250):
            whole.label(card[k + i], merchant[k + i], ts[k + i], bool(is_fraud[k + i]), to_usual[i], known[i])
        merchant_side(
            merchant_state, merchant[part], ts[part], amount[part], is_fraud[part].astype(np.int8), to_usual,
            np.full((250, CARD_FEATURES), np.nan),
        )  # fmt: skip


def test_a_transaction_that_comes_late_does_not_move_windows_back() -> None:
    card_state = np.tile(initial_card(), (1, 1)).reshape(1, CARD_WIDTH)
    ts = 1.7e9 + np.array([0.0, 10 * 86_400.0, 3 * 86_400.0, 10.1 * 86_400.0])
    rows = np.zeros(4, np.int64)
    features = card_side(card_state, rows, rows + 7, ts, np.full(4, 10.0))
    counts = features[:, FEATURES.index("account_count_1d")]
    np.testing.assert_array_equal(counts, [1.0, 1.0, 2.0, 3.0])
