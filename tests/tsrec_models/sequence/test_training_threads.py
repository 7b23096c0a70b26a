"""The number of threads is chosen by what a product takes, and set back afterwards."""

from __future__ import annotations

import pytest
import torch

from tsrec_models.sequence import training_threads
from tsrec_models.sequence.training_threads import choose_threads, restored_threads


@pytest.mark.parametrize(("seconds", "expected"), [({4: 1.0, 1: 2.0}, 4), ({4: 2.0, 1: 1.0}, 1)], ids=["free", "busy"])
def test_the_faster_number_of_threads_is_used(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], expected: int
) -> None:
    monkeypatch.setattr(training_threads, "_seconds", seconds.__getitem__)
    with restored_threads():
        assert choose_threads(4) == expected
        assert torch.get_num_threads() == expected


def test_one_thread_stays_one_and_the_number_is_restored() -> None:
    before = torch.get_num_threads()
    with restored_threads() as most:
        assert most == before
        assert choose_threads(1) == 1
        choose_threads(2)
    assert torch.get_num_threads() == before
