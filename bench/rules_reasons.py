"""Are reasons true? The deletion test on real histories, for the rules and for leave-one-out attribution.

    python bench/rules_reasons.py [--data ../shared/data] [--users 500]

On Amazon Beauty: for each user the item recommended first, its reasons, and how far the item's log-share falls when the
1, 2, 3 named items are deleted from the history, against as many drawn at random. Prints a JSON line a model.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from ranking_data import beauty

from tsrec_models.preparation import Log
from tsrec_models.sequence.item_to_item import ItemToItem
from tsrec_models.sequence.reasons import DeletionTest, deletion_test, leave_one_out, rule_reasons
from tsrec_models.sequence.rules import RuleSettings
from tsrec_models.sequence.rules_recommender import RulesRecommender
from tsrec_models.sequence.session_knn import SessionKnn


def show(model: str, reasons: str, result: DeletionTest) -> None:
    line = {
        "model": model,
        "reasons": reasons,
        "cases": result.cases,
        "fall_named": result.named.round(3).tolist(),
        "fall_random": result.random.round(3).tolist(),
        "holds": result.holds,
    }
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--users", type=int, default=500)
    options = parser.parse_args()
    table = beauty(options.data)
    log = Log.from_ids(table["user_id"].to_pylist(), table["item_id"].to_pylist())
    long_enough = np.flatnonzero(log.lengths >= 6)
    users = np.random.default_rng(0).choice(long_enough, options.users, replace=False)
    histories = [log.history(user) for user in users]
    rules = RulesRecommender.fit(log, RuleSettings(half_life_s=None))
    for model in (rules, SessionKnn.fit(log), ItemToItem.fit(log)):
        first = model.topk(model.encode(histories), 1, histories)[0][:, 0]
        cases = [
            (history, int(target), leave_one_out(model, history, np.array([target]))[0])
            for history, target in zip(histories, first, strict=True)
        ]
        show(model.name, "leave-one-out", deletion_test(model, cases))
        if model is rules:
            exact = []
            for history, target in zip(histories, first, strict=True):
                parts = np.zeros(len(history))
                for reason in rule_reasons(rules.rules, history, int(target), most=len(history)):
                    parts[reason.place] = reason.contribution
                exact.append((history, int(target), parts))
            show(model.name, "exact contributions", deletion_test(model, exact))


if __name__ == "__main__":
    main()
