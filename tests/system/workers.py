"""Worker processes for system tests: started, killed, paused, ended, with their log at hand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stream_app.orphans import ends_with_us

__all__ = ["ROOT", "WorkerProcess", "wait_until"]

ROOT = Path(__file__).resolve().parents[2]


def wait_until(done: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.1) -> float:
    """Until `done()`; the seconds it took.

    Raises:
        TimeoutError: naming `what`.
    """
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)
    return time.monotonic() - began


class WorkerProcess:
    """One job as a process of its own. `command` is a script or `-m module`; `env` is what the job is told."""

    def __init__(self, folder: Path, name: str, *command: str, **env: str) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self.command = [sys.executable, *command]
        self.env = {
            **os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore",
            "LOG_LEVEL": "INFO", **env,
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> WorkerProcess:
        """Start it; its log goes on in the same file."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=ROOT, stdout=log, stderr=log, preexec_fn=ends_with_us()
            )
        return self

    def cpu_s(self) -> float:
        """CPU seconds of the process itself so far, user and system (Linux)."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, how: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(how)

    def kill(self) -> None:
        """kill -9, and wait for the corpse."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(10)

    def terminate(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; the exit code. A worker that does not end in time is killed, and TimeoutError raised."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> int:
        """The exit code of a worker that ends by itself."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise TimeoutError(
                f"{self.name} did not end within {timeout_s:g} s; its log:\n{self.log()[-4000:]}"
            ) from None

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        """What it has said so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_for_log(self, pattern: str, timeout_s: float = 60.0, times: int = 1) -> None:
        """Until its log matches `pattern`, `times` times."""
        try:
            wait_until(
                lambda: len(re.findall(pattern, self.log())) >= times, timeout_s, f"{self.name} logs {pattern!r}"
            )
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its log:\n{self.log()[-4000:]}") from None
