"""When the demo opens a browser, and which address it names."""

from __future__ import annotations

import socket
import sys
import threading
from types import SimpleNamespace

import pytest

from stream_app.demo import browser, run
from stream_app.demo.browser import has_display, show_page
from stream_app.settings import Settings


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, "darwin", False),
        ({"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22", "DISPLAY": "localhost:10.0"}, "linux", True),
    ],
)
def test_a_window_needs_a_display(environment: dict[str, str], platform: str, expected: bool) -> None:
    assert has_display(environment, platform) is expected


@pytest.mark.parametrize("terminal", [True, False])
def test_the_page_is_opened_for_a_person_at_a_terminal_only(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    opened, done = [], threading.Event()

    def open_(url: str) -> None:
        opened.append(url)
        done.set()

    monkeypatch.setattr(browser.webbrowser, "open", open_)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.setenv("DISPLAY", ":0")
    assert show_page("http://127.0.0.1:1/") is terminal
    assert done.wait(5 if terminal else 0.1) is terminal
    assert opened == (["http://127.0.0.1:1/"] if terminal else [])


def test_the_demo_takes_the_usual_port_unless_somebody_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(run, "USUAL_PORT", port)
        assert run._web_port() == port  # bound, but nobody listens
        taken.listen()
        assert run._web_port() != port
    assert Settings.model_fields["web_port"].default == 6066
