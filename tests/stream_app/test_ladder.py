"""The deadline ladder."""

from __future__ import annotations

import time

from stream_app.inference import Inference, Ladder
from stream_app.metrics import Metrics

RUNGS = ("neural", "rules", "trending")


def ladder(budget_s: float = 0.05) -> Ladder:
    return Ladder(RUNGS, budget_s, Metrics())


def test_a_rung_that_was_never_asked_is_tried() -> None:
    assert ladder().choose(10, time.time(), RUNGS) == "neural"


def test_a_rung_that_has_been_too_slow_is_skipped_and_counted() -> None:
    steps = ladder()
    steps.took("neural", 1, 0.2)
    assert steps.choose(1, time.time(), RUNGS) == "rules"
    assert steps._metrics.rung_skipped.labels("neural")._value.get() == 1


def test_what_a_batch_waited_counts() -> None:
    steps = ladder(0.05)
    steps.took("neural", 1, 0.03)
    assert steps.choose(1, time.time(), RUNGS) == "neural"
    assert steps.choose(1, time.time() - 0.04, RUNGS) == "rules"


def test_a_deadline_that_is_lost_makes_no_answer_poorer_that_is_quick() -> None:
    steps = ladder(0.05)
    for rung in RUNGS:
        steps.took(rung, 1, 0.003)
    assert steps.choose(1, time.time() - 0.2, RUNGS) == "neural"
    steps.took("neural", 1, 0.1)  # an estimate of 0.022
    assert steps.choose(1, time.time() - 0.2, RUNGS) == "rules"
    assert steps.choose(1, time.time(), RUNGS) == "neural"


def test_large_batches_cost_by_the_row() -> None:
    steps = ladder(0.05)
    for _ in range(60):
        steps.took("neural", 1, 0.001)
        steps.took("neural", 1000, 0.2)
    assert steps.choose(10, time.time(), RUNGS) == "neural"
    assert steps.choose(5000, time.time(), RUNGS) == "rules"


def test_the_last_rung_answers_however_late_it_is() -> None:
    steps = ladder(0.01)
    for rung in RUNGS:
        steps.took(rung, 1, 1.0)
    assert steps.choose(1, time.time() - 5, RUNGS) == "trending"
    assert steps.choose(1, time.time() - 5, ("rules",)) == "rules"


def test_a_slow_rung_gets_another_chance() -> None:
    steps = ladder()
    steps.took("neural", 1, 10.0)
    chosen = [steps.choose(1, time.time(), RUNGS) for _ in range(Ladder.RETRY)]
    assert chosen.count("neural") == 1


async def test_inference_runs_in_one_thread_of_its_own() -> None:
    import threading

    inference = Inference()
    names = {(await inference.run(threading.current_thread)).name for _ in range(5)}
    assert len(names) == 1
    assert threading.current_thread().name not in names
    inference.close()
