"""Session neighbours against a plain loop over all sessions."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tsrec_models.base import ModelError
from tsrec_models.preparation import Log
from tsrec_models.sequence.session_knn import KnnSettings, SessionKnn

N = 15


def random_log(seed=0, sessions=40):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, sessions)
    users = np.repeat(rng.permutation(sessions), lengths)
    return Log.from_arrays(users, rng.integers(0, N, len(users)), rng.uniform(0, 1e6, len(users)), n_items=N)


def scores_by_loop(log, recent, s):
    order = sorted((u for u in range(log.n_users) if log.lengths[u]), key=lambda u: log.times[log.indptr[u + 1] - 1])
    sessions = [log.history(u)[-s.longest :].tolist() for u in order]
    holders = {i: [n for n, session in enumerate(sessions) if i in session] for i in range(N)}
    similarity, match = {}, {}
    for j, item in enumerate(recent):
        if item < 0 or item in recent[:j]:
            continue
        for n in holders[item][::-1][: s.sample]:
            gain = math.exp(-j / s.query_decay) * math.log1p(len(sessions) / len(holders[item])) ** s.idf
            similarity[n] = similarity.get(n, 0.0) + gain
            match.setdefault(n, max(p for p, i in enumerate(sessions[n]) if i == item))
    for n in similarity:
        age = (len(sessions) - 1 - n) / len(sessions)
        similarity[n] *= len(sessions[n]) ** -s.length_norm * 2 ** (-age / s.half_life)
    scores = np.zeros(N)
    for n in sorted(similarity, key=lambda n: -similarity[n])[: s.neighbours]:
        for p, item in enumerate(sessions[n]):
            if p != match[n]:
                near = math.exp(-abs(p - match[n]) / s.match_decay)
                scores[item] += similarity[n] * near * (s.before if p < match[n] else 1.0)
    return scores * [(1 + len(holders[i])) ** -s.popularity for i in range(N)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"neighbours": 4},
        {"sample": 3},
        {"longest": 3},
        {"idf": 2.0, "length_norm": 0.0, "half_life": 0.1, "before": 1.0, "popularity": 0.0},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_a_loop_over_all_sessions(change, seed):
    chosen = replace(KnnSettings(width=4), **change)
    log = random_log(seed)
    model = SessionKnn.fit(log, chosen)
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, N, length) for length in (0, 1, 2, 4, 7)]
    found = model.scores(model.encode(histories))
    for history, line in zip(histories, found, strict=True):
        np.testing.assert_allclose(line, scores_by_loop(log, history[::-1][:4].tolist(), chosen), rtol=1e-4, atol=1e-7)


def test_impossible_settings_are_refused():
    for bad in ({"width": 0}, {"neighbours": 0}, {"match_decay": 0.0}):
        with pytest.raises(ModelError):
            KnnSettings(**bad)
