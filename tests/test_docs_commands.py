"""Documents: every `tsrec` command and setting in them exists, every page is in the site, which builds strictly."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from stream_app.cli import tsrec
from stream_app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "examples").glob("*/README.md")),
]  # fmt: skip

#: Where a word is a placeholder, an option may be too: `[--protocol loo|temporal]`.
_PLACEHOLDER = re.compile(r"^[\[(|]")


def fenced(text: str) -> Iterator[str]:
    """Lines of blocks, continued lines joined."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.S | re.M):
        yield from re.sub(r"\s*\\\n\s*", " ", block).splitlines()
    for block in re.findall(r"(?:^ {4}\S[^\n]*\n)+", text, re.M):
        yield from block.splitlines()


def commands(text: str) -> list[str]:
    """What a reader might type: lines of blocks and inline code that call `tsrec`."""
    found = [line.strip() for line in fenced(text)]
    found += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))]
    return [line for line in found if re.match(r"(?:\w+=\S+ )*tsrec [a-z]", line)]


def problem(line: str) -> str | None:
    """What is wrong with a command, or None."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return str(error)
    words = words[words.index("tsrec") + 1 :]
    command: click.Command = tsrec
    context = click.Context(tsrec)
    for word in words:
        if word in ("|", ">", "&", "&&", ";", "or", "…"):
            break
        if isinstance(command, click.Group) and not word.startswith("-"):
            following = command.get_command(context, word)
            if following is None:
                return f"no command {word!r}" if not re.match(r"[A-Z<…|]", word) and "|" not in word else None
            command = following
            context = click.Context(command)
        elif word.startswith("--") and re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word):
            known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
            if word.split("=")[0] not in known:
                return f"no option {word} (there are {', '.join(sorted(known))})"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_the_page_exists_with_its_options(page: Path) -> None:
    problems = {line: what for line in commands(page.read_text()) if (what := problem(line))}
    assert not problems


def test_the_checker_finds_what_is_wrong() -> None:
    assert problem("tsrec replay f --topics x") is not None
    assert problem("tsrec dlq lists") == "no command 'lists'"
    assert problem("TSREC_K=3 tsrec replay f --topic x --rate 5 &") is None
    assert commands("`tsrec tail x` and\n```sh\nA=1 tsrec dlq \\\n  list\necho\n```\n") == [
        "A=1 tsrec dlq list",
        "tsrec tail x",
    ]
    assert sum(len(commands(page.read_text())) for page in PAGES) > 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_of_the_page_exists(page: Path) -> None:
    unknown = set()
    for name in re.findall(r"\bTSREC_([A-Z][A-Z0-9_]*[A-Z0-9])", page.read_text()):
        model = Settings.model_fields.get(name.split("__")[0].lower())
        parts = name.lower().split("__")
        if name == "CONFIG" or name.endswith("SERVICE_HOST"):
            continue
        if model is None or (len(parts) > 1 and parts[1] not in getattr(model.annotation, "model_fields", parts)):
            unknown.add(name)
    assert not unknown


def test_every_page_is_in_the_site() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())

    def pages(node: object) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from pages(child)

    assert sorted(pages(config["nav"])) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_the_site_builds_strictly_and_asks_nobody_else(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'tsrec[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, timeout=250, env={"PATH": "", "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (tmp_path / "site").glob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert not [url for url in loaded if "canonical" not in url], page.name
