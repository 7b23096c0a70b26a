from click.testing import CliRunner

from stream_app.cli import tsrec


def test_help_lists_every_command_without_importing_them() -> None:
    result = CliRunner().invoke(tsrec, ["--help"])
    assert result.exit_code == 0
    assert "evaluate" in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(tsrec, ["nonsense"])
    assert result.exit_code == 2
    assert "No such command" in result.output
