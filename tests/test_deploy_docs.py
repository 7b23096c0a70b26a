"""What the pages on operating tell a person to type exists: commands, options, settings, files, links."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from stream_app.cli import COMMANDS
from stream_app.settings_reference import reference as settings_reference
from tests.test_monitoring import ALERTMANAGER, tool

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "docs" / "deploying.md", ROOT / "docs" / "monitoring.md"]
SHIPPED = [*PAGES, *(p for p in (ROOT / "deploy").rglob("*.y*ml") if "secrets" not in p.parts), ROOT / "Dockerfile",
           ROOT / "docker-compose.yml"]  # fmt: skip


def commands_in(text: str) -> list[list[str]]:
    """Every `tsrec …` in code, as words."""
    code = re.findall(r"```sh\n(.*?)```", text, re.S) + re.findall(r"`(tsrec [^`]+)`", text)
    lines = [line.strip() for block in code for line in block.splitlines()]
    return [line.split()[1:] for line in lines if line.startswith("tsrec ")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_command_and_option_exists(path: Path) -> None:
    found = commands_in(path.read_text())
    assert len(found) > 5
    for words in found:
        assert words[0] in COMMANDS or words[0] == "replay-decision", words
        if words[0] == "replay-decision" or not _is_there(words[0]):
            continue  # being built beside this
        command: Any = importlib.import_module(f"stream_app.commands.{COMMANDS[words[0]][0]}").command
        if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
            command = command.get_command(click.Context(command), words[1])
            assert command is not None, words
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options | {"--help"}, words


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(f"stream_app.commands.{COMMANDS[name][0]}") is not None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_setting_that_is_named_exists(path: Path) -> None:
    known = set(re.findall(r"`(TSREC_\w+)`", settings_reference()))
    families = {name.rsplit("__", 1)[0] + "__" for name in known if "__" in name}
    for name in re.findall(r"TSREC_[A-Z_]*[A-Z]", path.read_text()):
        assert name in known or any(f"{name}__" == family for family in families), f"{name} in {path.name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_file_and_page_that_is_named_is_there(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"\b((?:deploy|bench|docs|tests|stream_app)/[\w./-]*[\w-])", text))
    made_by_the_reader = {"deploy/secrets", "deploy/secrets/web-token", "deploy/secrets/grafana-password"}
    for name in named - made_by_the_reader:
        assert (ROOT / name).exists() or list(ROOT.glob(f"{name}*")), name
    for page in re.findall(r"\]\((\w[\w-]*\.md)(?:#[\w-]+)?\)", text):
        assert (ROOT / "docs" / page).exists(), page


def test_links_within_the_page_have_a_heading() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors


def test_the_example_of_receivers_fits_the_routes(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(receivers:.*?)```", (ROOT / "docs" / "deploying.md").read_text(), re.S)
    config = ALERTMANAGER.read_text().split("\nreceivers:")[0] + "\n" + example
    path = tmp_path / "alertmanager.yml"
    path.write_text(config)
    done = subprocess.run([tool("amtool"), "check-config", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 receivers" in done.stdout


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    sections = re.findall(r"^### (\w+)$", text, re.M)
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "deploy" / "prometheus" / "rules" / "alerts.yml").read_text())
    assert sections == list(dict.fromkeys(alerts)), "in the order of the rules"
