"""How long one credit application takes, with and without its reasons: `python bench/credit_latency.py`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tsrec_models.evaluation.credit_reading import read_applications  # noqa: E402
from tsrec_models.risk.credit import CreditScorer  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "credit" / "german_credit.csv"


def main() -> None:
    if not DATA.exists():
        sys.exit(f"no data at {DATA}")
    data = read_applications(DATA, "creditability")
    scorer = CreditScorer.fit(data.table, data.is_bad)
    rows = [{name: column[i] for name, column in data.table.items()} for i in range(200)]
    took, cpu = [], []
    for row in rows:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        scorer.score(row)
        took.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
    begin = time.perf_counter()
    scorer.predict(data.table)
    many = (time.perf_counter() - begin) / len(data.is_bad)
    p50, p99 = np.quantile(took, [0.5, 0.99]) * 1e3
    line = {
        "score_ms_p50": round(p50, 3),
        "score_ms_p99": round(p99, 3),
        "score_cpu_ms_p50": round(float(np.median(cpu)) * 1e3, 3),
        "batch_us_a_row": round(many * 1e6, 1),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
