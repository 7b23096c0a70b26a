"""The live page in the browser of whoever started the demo: where there is one, and a person to see it."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Mapping

__all__ = ["has_display", "show_page"]


def has_display(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a window can be opened here: not over a remote shell, nor without a desktop."""
    if "SSH_CONNECTION" in environment and "DISPLAY" not in environment:
        return False
    return platform in ("darwin", "win32") or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def show_page(url: str) -> bool:
    """Open `url` if a person at a terminal with a display started this; whether that was tried.

    In a thread that nothing waits for: some browsers' starters return when the window is closed.
    """
    if not (sys.stdout.isatty() and has_display(os.environ, sys.platform)):
        return False
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    return True
