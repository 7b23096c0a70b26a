"""One neural recommender on a public benchmark: leave-one-out, full ranking, items seen excluded.

    python bench/train_sequence.py beauty|ml-1m MODEL MINUTES [NAME=VALUE ...]

Trains on all but the last two events of each user, stops by the one before the last, and asks for the last: once with
the parameters so found (as published figures are), once after these learned from the validation events too.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path

from tsrec_models.artifacts import load_model_class
from tsrec_models.devices import resolve_device
from tsrec_models.preparation.log import Log
from tsrec_models.sequence.training import Trainer
from tsrec_models.sequence.training_holdout import leave_last_out, validate
from tsrec_models.sequence.training_report import TrainingView
from tsrec_models.sequence.training_settings import Settings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def load(name: str) -> Log:
    users: list[str] = []
    items: list[str] = []
    if name == "beauty":
        with gzip.open(DATA / "amazon-beauty" / "Beauty.txt.gz", "rt") as file:
            for line in file:
                user, *history = line.split()
                users += [user] * len(history)
                items += history
    elif name == "ml-1m":
        with gzip.open(DATA / "ml-1m" / "ml-1m.txt.gz", "rt") as file:
            for line in file:
                user, item = line.split()
                users.append(user)
                items.append(item)
    else:
        raise SystemExit(f"no data set {name!r}: beauty or ml-1m")
    return Log.from_ids(users, items)


def main() -> None:
    name, kind, minutes, *changes = sys.argv[1:]
    log = load(name)
    events, test = leave_last_out(log)
    train, holdout = leave_last_out(events)
    values = Settings.for_log(train).as_dict()
    for change in changes:
        key, value = change.split("=")
        values[key] = type(values[key])(value)
    settings = Settings.from_dict(values)
    trainer = Trainer(train, load_model_class(kind), settings, seed=0, device=resolve_device("auto"))
    wall, cpu = time.monotonic(), time.process_time()
    with TrainingView(kind, settings.epochs, show=True, tensorboard=None, wandb=None) as view:
        trainer.run(holdout, deadline=wall + 60.0 * float(minutes), checkpoint=None, view=view)
    rounds = {"validation": trainer.progress.best, "test": validate(trainer.recommender(), test)}
    rounds["test after learning from validation"] = validate(trainer.refit(events, None), test)
    print(
        json.dumps(
            {
                "bench": "train_sequence",
                "data": name,
                "model": kind,
                "best_epoch": trainer.progress.best_epoch,
                "epochs": trainer.progress.epoch,
                **rounds,
                "wall_s": round(time.monotonic() - wall),
                "cpu_s": round(time.process_time() - cpu),
            }
        )
    )


if __name__ == "__main__":
    main()
