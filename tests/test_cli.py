from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from stream_app.cli import tsrec
from stream_app.errors import UsageError


def test_help_lists_every_command_without_importing_them() -> None:
    result = CliRunner().invoke(tsrec, ["--help"])
    assert result.exit_code == 0
    assert "evaluate" in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(tsrec, ["nonsense"])
    assert result.exit_code == 2
    assert "No such command" in result.output


def groups(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that has commands."""
    if isinstance(command, click.Group):
        yield path
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from groups(found, (*path, name))


def test_what_a_list_of_commands_says_of_each_is_a_whole_sentence() -> None:
    for path in groups(tsrec):
        listed = CliRunner().invoke(tsrec, [*path, "--help"], terminal_width=80).output.split("Commands:")[1]
        assert "..." not in listed, path


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:99999", "h:0", "h:x", " "])
def test_an_address_that_is_none_is_told_before_anything_is_opened(address: str) -> None:
    error = CliRunner().invoke(tsrec, ["topics", "list", "--bootstrap", address]).exception
    assert isinstance(error, UsageError)
    assert "TSREC_BOOTSTRAP" in str(error)
