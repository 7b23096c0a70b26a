"""A newcomer's first minutes: a fresh clone, the README's own commands and nothing else, until the page has live data.

    python bench/first_minutes.py [--pictures FOLDER] [--keep FOLDER] [--watch 35]

Clones this checkout (what is committed) into a new folder, with no cache of packages and no compiled kernels, reads
the commands out of the README's "First five minutes", runs them, opens the page that they print in Chromium, and
waits until it shows what it should. A JSON line a step, with seconds since the clone began; the last one says whether
all came within five minutes. --pictures: pictures of the page on the way (webp), light, dark and on a phone, and one
that moves.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from stream_app.orphans import ends_with_us, unwind_when_terminated

ROOT = Path(__file__).resolve().parents[1]

#: What "in the first five minutes" means.
LIMIT_S = 300.0

#: What the page has to show, in words of a person, and where.
SEEN = {
    "a recommendation is on the page": "#feed > li",
    "an alert is on the page": "#alerts li",
    "a price with its forecast is drawn": "#chart path",
}

#: Frames of the moving picture: so many, so far apart, so wide.
FRAMES, FRAME_S, FRAME_WIDTH = 24, 0.5, 960

#: High enough for the whole chart below an alert with its evidence.
DESKTOP: ViewportSize = {"width": 1440, "height": 1180}


class Steps:
    """The clock of the newcomer."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.last_s = 0.0

    def done(self, what: str, **more: Any) -> None:
        self.last_s = time.monotonic() - self.began
        print(json.dumps({"step": what, "at_s": round(self.last_s, 1), **more}), flush=True)


def commands(readme: str) -> list[str]:
    """The first block of commands below the heading that is for a newcomer."""
    section = readme.split("## First five minutes", 1)[1]
    block = re.search(r"```\w*\n(.*?)```", section, re.DOTALL)
    assert block is not None, "the README has no command for a newcomer"
    return [line for line in block.group(1).splitlines() if line.strip()]


def environment(folder: Path) -> dict[str, str]:
    """Of somebody who has never been here: no settings, no virtual environment, no cache of packages or kernels."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TSREC_", "NUMBA_", "VIRTUAL_"))}
    own = str(Path(sys.executable).parent)
    kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if part != own)
    return kept | {"PIP_CACHE_DIR": str(folder / "pip"), "PYTHONUNBUFFERED": "1"}


def follow(process: subprocess.Popen[str], clone: Path, steps: Steps, said: list[str]) -> str:
    """Read what the command says until it names the page."""
    threading.Thread(target=_watch_install, args=(clone / ".venv" / ".installed", steps), daemon=True).start()
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip())
        steps.done("it says", line=line.rstrip()[:120])
        if found := re.search(r"live page (http://\S+)", line):
            threading.Thread(target=lambda: said.extend(map(str.rstrip, process.stdout or ())), daemon=True).start()
            return found.group(1)
    raise SystemExit(f"the command ended with code {process.wait()} before it named the page")


def _watch_install(mark: Path, steps: Steps) -> None:
    while not mark.exists():
        time.sleep(0.2)
    steps.done("installed")


def open_page(browser: Browser, url: str, steps: Steps) -> Page:
    """The page, once it shows everything that it should."""
    page = browser.new_page(viewport=DESKTOP)
    page.goto(url)
    paint = page.evaluate(
        "new Promise(done => new PerformanceObserver(list => done(list.getEntries()[0].startTime))"
        ".observe({type: 'paint', buffered: true}))"
    )
    steps.done("the page is open", first_paint_ms=round(paint))
    waiting, until = dict(SEEN), time.monotonic() + LIMIT_S
    while waiting:
        for what in [what for what, where in waiting.items() if page.locator(where).count()]:
            steps.done(what)
            del waiting[what]
        if time.monotonic() > until:
            raise SystemExit(f"not on the page after {LIMIT_S:g} s: {', '.join(waiting)}")
        page.wait_for_timeout(200)
    return page


def picture(page: Page, path: Path, **options: Any) -> None:
    """As webp: a quarter of the bytes."""
    Image.open(BytesIO(page.screenshot(animations="disabled", **options))).save(path, quality=80, method=6)


def pictures(browser: Browser, page: Page, url: str, folder: Path, watch_s: float) -> None:
    """Of the page with its first alert opened and a user looked up; the same for some seconds; in the dark and on a
    phone, each with nothing else open that would be drawn by the same cores. Each when it was open for `watch_s`."""
    folder.mkdir(parents=True, exist_ok=True)
    for evidence in page.locator("#alerts summary").all()[:1]:
        evidence.click(timeout=1000)
    page.locator("#feed .head button").first.click()
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(1, 1)  # the list stands still below a pointer
    page.wait_for_timeout(1000 * watch_s)
    picture(page, folder / "page-desktop.webp")
    frames = []
    for _ in range(FRAMES):
        frame = Image.open(BytesIO(page.screenshot())).convert("RGB")
        frames.append(frame.resize((FRAME_WIDTH, round(frame.height * FRAME_WIDTH / frame.width))))
        time.sleep(FRAME_S)
    frames[0].save(
        folder / "first-minutes.webp", save_all=True, append_images=frames[1:], duration=int(FRAME_S * 1000), loop=0,
        quality=55, method=4,
    )  # fmt: skip
    page.close()
    dark = browser.new_page(viewport=DESKTOP, color_scheme="dark", reduced_motion="reduce")
    phone = browser.new_page(
        viewport={"width": 390, "height": 844}, device_scale_factor=2, is_mobile=True, reduced_motion="reduce"
    )
    for screen, name in ((dark, "page-dark.webp"), (phone, "page-phone.webp")):
        screen.goto(url)
        screen.wait_for_selector("#chart path", state="attached")
        screen.locator("#feed .head button").first.click()
        screen.evaluate("scrollTo(0, 0)")
        screen.mouse.move(1, 1)
        screen.wait_for_timeout(1000 * watch_s)
        picture(screen, folder / name)
        screen.close()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--keep", type=Path, help="clone here and leave it; otherwise a folder that is removed")
    parser.add_argument(
        "--watch", type=float, default=35.0,
        help="seconds that a page is open before its picture: it shows percentiles of the last 30 s, and those should "
        "not be of a browser that starts on the same cores",
    )  # fmt: skip
    args = parser.parse_args()
    unwind_when_terminated()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="tsrec-newcomer-"))
    clone, said, steps = folder / "tsrec", [], Steps()
    process: subprocess.Popen[str] | None = None
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        steps.done("cloned")
        words = commands((clone / "README.md").read_text())
        steps.done("read the README", commands=words)
        process = subprocess.Popen(
            " && ".join(words), shell=True, cwd=clone, env=environment(folder), text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=ends_with_us(),
        )  # fmt: skip
        url = follow(process, clone, steps, said)
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = open_page(browser, url, steps)
            took_s = steps.last_s
            if args.pictures is not None:
                pictures(browser, page, url, args.pictures, args.watch)
            browser.close()
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(60)
        steps.done("ended with Ctrl-C", code=code, says=said[-1][:400] if said else "")
        within = {
            "bench": "first_minutes",
            "live_data_at_s": round(took_s, 1),
            "within_five_minutes": took_s <= LIMIT_S,
        }
        print(json.dumps(within | {"load": round(os.getloadavg()[0], 1)}), flush=True)
    finally:
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        if args.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
