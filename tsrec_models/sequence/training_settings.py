"""Settings of a neural recommender and of its training, with defaults that suit most logs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from tsrec_models.base import ModelError
from tsrec_models.preparation.log import Log

__all__ = ["Settings"]

#: Events from which on a recurrent state of 128 values is filled rather than overfitted.
_LARGE_LOG = 500_000


@dataclass(frozen=True)
class Settings:
    """One flat record, so that a search can vary any of it.

    Shape of the network:
        width: length of item vectors. hidden: length of the recurrent state. layers, heads, window: of the
        Transformer and LRU; `window` events are attended to. cosine: score by cosine times a learned scale.
        times: `auto` uses intervals between events where they vary, `on`, `off`. item_bias: a learned popularity term.
    Regularisation:
        dropout of hidden values, input_dropout of item vectors, l2 (AdamW's weight decay).
    Objective:
        loss: `full` softmax, `sampled` softmax, or `auto` (full up to `full_softmax_items` items).
        negatives: shared by a batch. logq: correct sampled logits by their proposal probability.
        wait_loss: weight of the squared error of log(1 + seconds to the next event), foretold beside the item; 0: not.
    Optimisation:
        optimizer `adamw` or `sgd`, lr, warmup_steps, epochs (at most), patience (validations without gain),
        batch_events, max_length (longer histories are cut into windows of it), average: decay a step of the running
        mean of the parameters, which is what is validated and kept; 0: the parameters themselves.
    Augmentation: probability of each, per sequence (crop, reorder) or per event (mask, substitute).
    Initialisation: init `ppmi` or `random`, of standard deviation init_std; ppmi_decay a step, ppmi_window events.
    """

    width: int = 64
    hidden: int = 64
    layers: int = 2
    heads: int = 2
    window: int = 50
    cosine: bool = False
    times: str = "auto"
    item_bias: bool = True

    dropout: float = 0.4
    input_dropout: float = 0.4
    l2: float = 0.01

    loss: str = "auto"
    full_softmax_items: int = 20_000
    negatives: int = 1024
    logq: bool = True
    wait_loss: float = 0.0

    optimizer: str = "adamw"
    lr: float = 2e-3
    warmup_steps: int = 100
    epochs: int = 100
    patience: int = 4
    batch_events: int = 1024
    max_length: int = 200
    average: float = 0.99
    refit: bool = True

    crop: float = 0.0
    mask: float = 0.05
    reorder: float = 0.0
    substitute: float = 0.0

    init: str = "ppmi"
    init_std: float = 0.05
    ppmi_decay: float = 0.7
    ppmi_window: int = 8

    def __post_init__(self) -> None:
        _check(self.width > 0 and self.hidden > 0 and self.layers > 0, "width, hidden and layers must be positive")
        _check(self.heads > 0 and self.width % self.heads == 0, "width must be a multiple of heads")
        _check(self.window > 0 and self.max_length > 1, "window must be positive and max_length at least 2")
        _check(self.times in ("auto", "on", "off"), "times must be auto, on or off")
        _check(self.loss in ("auto", "full", "sampled"), "loss must be auto, full or sampled")
        _check(self.optimizer in ("adamw", "sgd"), "optimizer must be adamw or sgd")
        _check(self.init in ("ppmi", "random"), "init must be ppmi or random")
        _check(self.batch_events > 1 and self.negatives > 0, "batch_events must exceed 1, negatives must be positive")
        _check(self.epochs > 0 and self.patience > 0 and self.lr > 0, "epochs, patience and lr must be positive")
        _check(self.wait_loss >= 0, "wait_loss must not be negative")
        for name in ("dropout", "input_dropout", "average", "crop", "mask", "reorder", "substitute"):
            _check(0.0 <= getattr(self, name) < 1.0, f"{name} must be in [0, 1)")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return asdict(self)

    @classmethod
    def for_log(cls, log: Log) -> Settings:
        """Defaults for a log of this size.

        The fewer events an item has, the more is dropped while training: half at 15 events an item, a fifth at 300, as
        published settings for Beauty and MovieLens-1M have it. A large log fills a larger state.
        """
        events_per_item = max(1.0, len(log) / max(1, log.n_items))
        dropout = round(min(0.5, max(0.1, 0.5 - 0.235 * math.log10(events_per_item / 15.0))), 2)
        batch_events = int(min(2048, max(512, len(log) / 160)))
        hidden = 128 if len(log) >= _LARGE_LOG else 64
        return cls(dropout=dropout, input_dropout=dropout, batch_events=batch_events, hidden=hidden)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """Settings of plain values; a name that is not a setting is an error.

        Raises:
            ModelError: unknown names, or values outside their range.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ModelError(f"unknown settings: {', '.join(unknown)}")
        return cls(**values)


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ModelError(f"settings: {message}")
