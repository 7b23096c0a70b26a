"""The `tsrec` command: one module a command in `stream_app.commands`, imported only when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from stream_app.errors import TsrecError
from tsrec_models.base import ModelError

__all__ = ["LazyGroup", "main"]

#: Command -> (module in stream_app.commands, what `tsrec --help` says of it). Heavy imports wait until the call.
COMMANDS = {
    "demo": ("demo", "See it work: an embedded broker, real purchases and trades, live in the terminal."),
    "broker": ("broker", "Run the embedded broker, in memory."),
    "topics": ("topics", "Create and list the topics of the contract; print their schemas."),
    "replay": ("replay", "Send records of CSV, JSONL or Parquet files, as fast as it goes or as they happened."),
    "tail": ("tail", "Watch a topic, each record by its type in the contract."),
    "dlq": ("dlq", "Dead letters: list by reason, show, send back."),
    "worker": ("worker", "Run the stream processor, one process or several of one group."),
    "config": ("config", "The settings as they hold, and where each came from."),
    "doctor": ("doctor", "Examine broker, topics, consumer group, machine, model and settings; say what to do."),
    "train": ("train", "Train a recommender on your own log and write it as an artifact."),
    "model": ("model", "Models of a store: put one in, let it answer or try it beside, without a restart."),
    "explain": ("explain", "Why these items: what each past item of a user adds."),
    "replay-decision": ("replay_decision", "Make a decision again from its record, and say whether it is the same."),
    "evaluate": ("evaluate", "Score a model on your own file: ranking, forecast, var, anomaly, credit, fraud."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use: `tsrec --help` answers without loading torch."""

    def __init__(self, *args: object, lazy: dict[str, tuple[str, str]] | None = None, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.lazy:
            return None
        module = importlib.import_module(f"stream_app.commands.{self.lazy[name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tsrec")
def tsrec() -> None:
    """Recommendations and risk alerts from Kafka streams."""


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and an exit code, never a traceback."""
    try:
        tsrec()
    except TsrecError as error:
        click.echo(f"tsrec: {error}", err=True)
        sys.exit(error.exit_code)
    except ModelError as error:
        click.echo(f"tsrec: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
