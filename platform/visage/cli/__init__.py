"""The command line: which commands there are. A command reads its arguments and calls the workflow of its name."""

import sys

import typer

from visage.cli import doctor, init, jobs, models, pictures, search, serving, training
from visage.errors import UserError
from visage.infra.signals import end_by_sigterm_too

app = typer.Typer(
    help="Gives a face another expression while it stays the same person.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    init.init,
    training.prepare,
    training.train,
    search.tune,
    search.study,
    search.ablate,
    models.evaluate,
    models.models,
    models.promote,
    models.rollback,
    serving.compare,
    models.ui,
    pictures.edit,
    pictures.transfer,
    pictures.inspect,
    models.export,
    serving.serve,
    serving.key,
    serving.demo,
):
    app.command()(command)
app.command(context_settings=jobs.FREE)(jobs.submit)
app.command()(jobs.jobs)
app.command()(doctor.doctor)


def main() -> None:
    """The console command: a mendable fault is one sentence on stderr and exit status 2."""
    end_by_sigterm_too()
    try:
        app()
    except UserError as error:
        print("visage:", *str(error).split(), file=sys.stderr)  # one line, whatever a file is called
        raise SystemExit(2) from None
