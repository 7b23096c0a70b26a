"""`tsrec worker`: the stream processor itself, one process or several of one consumer group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click

from stream_app.commands._common import tell_unknown_variables
from stream_app.cores import keep_to
from stream_app.orphans import ends_with_us
from stream_app.settings import load

__all__ = ["command"]

#: Pause before a worker that crashed is started again; doubles each time it crashes at once, up to a minute.
RESTART_S, RESTART_MAX_S, HEALTHY_S = 1.0, 60.0, 60.0


@click.command()
@click.option("--processes", "-n", type=click.IntRange(1), default=1, show_default=True, help="Workers to run.")
@click.option("--bootstrap", metavar="HOST:PORT", help="Kafka bootstrap servers. [TSREC_BOOTSTRAP]")
@click.option("--group", help="Consumer group. [TSREC_GROUP]")
@click.option("--guarantee", type=click.Choice(["at_least_once", "exactly_once"]), help="[TSREC_GUARANTEE]")
@click.option("--model", type=click.Path(path_type=Path), help="Folder of the trained artifact. [TSREC_MODEL]")
@click.option(
    "--web-port",
    type=int,
    help="Port of the page, REST and /metrics; process i of several takes port + i. [TSREC_WEB_PORT]",
)
@click.option("--core", type=click.IntRange(0), help="Core to keep to; process i of several takes the i-th after it.")
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), help="[TSREC_LOG_LEVEL]")
def command(processes: int, **options: object) -> None:
    """Read clicks, purchases and trades; publish recommendations and alerts; until SIGTERM.

    Every setting comes from the environment (TSREC_…), .env or tsrec.toml; the options here win over them.
    Exit codes: 0 ended by a signal, 1 crashed, 2 a setting is wrong, 3 the broker refuses, 4 ended by its own deadline.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if processes > 1:  # each of them says what is told below
        sys.exit(_supervise(processes, given))
    tell_unknown_variables()
    settings = load(**given)
    if settings.core is not None:
        keep_to(settings.core)  # before anything starts threads, which inherit it
    from threadpoolctl import threadpool_limits

    from stream_app.app import build
    from stream_app.worker import run_worker

    # Batches are small: more threads of BLAS would wait for each other, and take the cores of broker and event loop.
    threadpool_limits(1)
    application = build(settings)
    run_worker(application.processor, log_level=settings.log_level, shutdown_timeout_s=settings.shutdown_timeout_s)


def _supervise(processes: int, given: dict[str, object]) -> int:
    """Run `processes` workers; start one again that crashes; pass SIGTERM on. The exit code is the worst of theirs."""
    settings = load(**given)
    own = ("web_port", "core")
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name not in own]
    stopping = False
    workers: list[subprocess.Popen[bytes]] = []

    def start(i: int) -> subprocess.Popen[bytes]:
        port = settings.web_port + i if settings.web_port else 0
        each = [f"--web-port={port}", *arguments]
        if settings.core is not None:
            each.append(f"--core={(settings.core + i) % (os.cpu_count() or 1)}")
        command = [sys.executable, "-m", "stream_app.cli", "worker", *each]
        return subprocess.Popen(command, preexec_fn=ends_with_us())

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for i in range(processes):
        if not stopping:
            workers.append(start(i))  # noqa: PERF401 - `stop` knows each at once
    started = [time.monotonic()] * processes
    pause_s = [RESTART_S] * processes
    while not stopping:
        time.sleep(0.2)
        for i, worker in enumerate(workers):
            code = worker.poll()
            if code is None or stopping:
                continue
            if code == 2:
                stop()
                return 2
            ran_s = time.monotonic() - started[i]
            pause_s[i] = RESTART_S if ran_s > HEALTHY_S else min(RESTART_MAX_S, pause_s[i] * 2)
            click.echo(
                f"tsrec: worker {i} ended with code {code} after {ran_s:.0f} s; again in {pause_s[i]:g} s", err=True
            )
            time.sleep(pause_s[i])
            if not stopping:
                workers[i], started[i] = start(i), time.monotonic()
    return max((worker.wait() for worker in workers), default=0)
