"""The command `ssondo-train`: one step of the making of a student a command, each resumable after a kill.

Libraries are imported by the commands that need them, so that `--help` and a wrong option answer at once.
"""

import os
import signal
import sys
from typing import NoReturn

import typer

from ssondo_stream.errors import StreamError
from training import cli_bundle, cli_columns, cli_export, cli_measure, cli_prepare, cli_student, cli_synthesis
from training.errors import TrainingError
from training.tables import RecipeError

app = typer.Typer(
    name="ssondo-train",
    help="Distil a student from a teacher's embeddings, one step a command.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for _command in (
    cli_prepare.extract,
    cli_prepare.cluster,
    cli_student.recipes,
    cli_student.distill,
    cli_measure.probe,
    cli_columns.columns,
    cli_synthesis.synthesis,
    cli_measure.evaluate,
    cli_bundle.verifier,
    cli_export.export,
):
    app.command()(_command)

_STOPPED = 128 + signal.SIGINT  # what typer makes of an interruption


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 done, 2 bad usage or recipe, 130 stopped from without, 1 anything else."""
    try:
        app()
    except (TrainingError, StreamError) as error:
        _fail(error)
    except SystemExit as ended:
        if ended.code == _STOPPED:
            typer.echo("ssondo-train: stopped; the same command goes on after what is finished", err=True)
        raise
    except BrokenPipeError:
        # whoever read the output has gone; the interpreter must not try to flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _fail(error: Exception) -> NoReturn:
    for line in str(error).splitlines():
        typer.echo(f"ssondo-train: {line}", err=True)
    sys.exit(2 if isinstance(error, RecipeError) else 1)


if __name__ == "__main__":
    main()
