"""Network of the joint chain: LSTM states and forecasts of demand, fused by attention over time steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tsrec_models.preparation.log import Log
from tsrec_models.sequence.joint_demand import BINS, HORIZON, RANK, forecast_demand
from tsrec_models.sequence.joint_own_demand import OwnDemand
from tsrec_models.sequence.training_loss import SparseScores
from tsrec_models.sequence.training_settings import Settings
from tsrec_models.sequence.transformer_network import TransformerNetwork, elapsed_buckets

__all__ = ["SHARES", "JointNetwork"]

#: Shares of the LSTM in the representation that validation chooses from; without validation, the second.
SHARES = (0.0, 0.15, 0.3, 0.5)


class JointNetwork(TransformerNetwork):
    """Stages: LSTM over the events; at each event the demand of the moment and of its item; attention over the last
    `window` of these; one representation, whose product with items' vectors and demand loadings scores them.

    LSTM states and demand enter attention by weights that start at zero, as far as they lower the loss (ReZero:
    Bachlechner et al., 2021). The representation is a mean of what attention says and what the LSTM says by itself.
    Each of the two learns by a loss of its own (deep supervision: Lee et al., 2015), both through the same item
    vectors: a loss of the mean alone lets one lean on the other, and the mean of two that err together gains little.
    Apart from the representation, the user's own past with an item speaks for or against it (`OwnDemand`): no vector of
    64 values knows which of a hundred items were taken.
    How the mean is weighed is no parameter but chosen on validation questions, by `Joint.tune`.

    A further stage that speaks of items in the words of a text adds its vectors in `stage_inputs`, one an event.
    """

    factors: Tensor
    loadings: Tensor
    bins: Tensor
    share: Tensor

    def __init__(self, n_items: int, settings: Settings, with_times: bool) -> None:
        super().__init__(n_items, settings, with_times)
        width = settings.width
        self.lstm = nn.LSTM(width, settings.hidden, batch_first=True)
        self.project = nn.Linear(settings.hidden, width)
        self.demand_in = nn.Linear(RANK + 1, width)
        self.project_out = nn.Linear(settings.hidden, width)
        self.demand_weight = nn.Linear(width, RANK)
        self.own_demand = OwnDemand(with_times)
        for stage in (self.project, self.demand_in, self.demand_weight):
            nn.init.zeros_(stage.weight)
            nn.init.zeros_(stage.bias)
        self.register_buffer("share", torch.tensor(SHARES[1]))
        self.register_buffer("factors", torch.zeros(BINS + HORIZON, RANK))
        self.register_buffer("loadings", torch.zeros(n_items + 1, RANK))
        self.register_buffer("bins", torch.tensor([0.0, 1.0], dtype=torch.float64))  # start, length in seconds

    def learn_from(self, log: Log) -> None:
        """Take the demand of a log; a second log in the factors of the first, which the weights have learned."""
        if not self.with_times:
            return
        known = self.loadings[:-1].cpu().numpy() if bool(self.loadings.any()) else None
        demand = forecast_demand(log, known)
        self.factors.copy_(torch.from_numpy(demand.factors))
        self.loadings[:-1] = torch.from_numpy(demand.loadings)
        self.bins.copy_(torch.tensor([demand.start_s, demand.width_s], dtype=torch.float64))

    def demand_at(self, times: Tensor) -> Tensor:
        """Factors [..., RANK] of the bins that `times` [...] fall into; times before and after take the nearest."""
        bins = ((times - self.bins[0]) / self.bins[1]).long().clamp(0, len(self.factors) - 1)
        return self.factors[bins]

    def stage_inputs(self, x: Tensor, hidden: Tensor, items: Tensor, demand: Tensor) -> Tensor:
        """Vectors [batch, length, width] that attention mixes.

        Item vectors x with the LSTM's states [batch, length, hidden], the demand of the moment and that of the item.
        """
        of_item = (demand * self.loadings[items]).sum(-1, keepdim=True)
        stages = self.project(self.output_drop(hidden)) + self.demand_in(torch.cat([demand, of_item], -1))
        result: Tensor = x + stages
        return result

    def stage_output(self, mixed: Tensor, hidden: Tensor) -> Tensor:
        """The representation [..., width] of what attention says and the LSTM's states [..., hidden]."""
        result: Tensor = torch.lerp(mixed, self.project_out(hidden), self.share)
        return result

    def forward(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> Tensor:
        """Outputs [batch, length, width + RANK]: the representation, and the demand factors of each event's moment."""
        mixed, hidden, demand = self.stages(items, buckets, times)
        return torch.cat([self.stage_output(mixed, hidden), demand], dim=-1)

    def learning_outputs(self, items: Tensor, buckets: Tensor, times: Tensor | None = None) -> list[Tensor]:
        mixed, hidden, demand = self.stages(items, buckets, times)
        alone = self.project_out(self.output_drop(hidden))
        return [torch.cat([stage, demand], dim=-1) for stage in (mixed, alone)]

    def stages(self, items: Tensor, buckets: Tensor, times: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What attention says [batch, length, width], the LSTM's states, the demand factors of each event's moment."""
        x = self.item(items)
        if self.interval is not None:
            x = x + self.interval(buckets)
        x = self.input_drop(self.norm_in(x))
        hidden, _ = self.lstm(x)
        demand = hidden.new_zeros(*items.shape, RANK)
        if times is not None and self.with_times:
            demand = self.demand_at(times)
        mixed, _ = self.attend(self.stage_inputs(x, hidden, items, demand), times)
        return mixed, hidden, demand

    def added_scores(self, items: Tensor, valid: Tensor, times: Tensor | None) -> SparseScores:
        elapsed = None if times is None or not self.with_times else elapsed_buckets(times)
        return self.own_demand(items, valid, elapsed, self.n_items)  # type: ignore[no-any-return]

    def query(self, outputs: Tensor, buckets: Tensor | None) -> Tensor:
        representation, demand = outputs[..., :-RANK], outputs[..., -RANK:]
        weight = self.demand_weight(representation)
        return torch.cat([super().query(representation, buckets), weight * demand], dim=-1)

    def output_vectors(self, items: Tensor | None = None) -> Tensor:
        loadings = self.loadings[:-1] if items is None else self.loadings[items]
        return torch.cat([super().output_vectors(items), loadings], dim=-1)
