"""`tsrec` with its minutes counted in processor time: figures of training from a machine that is shared with others.

    OMP_NUM_THREADS=1 python bench/processor_minutes.py evaluate ranking FILE --max-minutes 10

On one thread of an idle machine a minute of processor time is a minute by the clock; on a busy one it takes longer, and
the model learns as much. `train_s` in the last line is then processor time as well.
"""

from __future__ import annotations

import time

#: Before anything else is imported, so that every deadline goes by it.
time.monotonic = time.process_time

from stream_app.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
