"""The commands of models, registered or in a bundle; heavy imports happen inside."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from visage.cli.options import LOCAL_STORE, Model, Store


def evaluate(
    model: Model,
    data: Annotated[str, typer.Option(help="Folder, or s3:// address, of the face set", show_default=False)],
    inception: Annotated[Path | None, typer.Option(help="Inception weights of torch-fidelity: adds FID")] = None,
    beside: Annotated[str | None, typer.Option(help="Where a driver is taken: a model that is told its class")] = None,
    registry: Store = LOCAL_STORE,
) -> None:
    """Judge a model on the test people of a face set, beside real faces, the copied input and a mean face."""
    from visage.workflows.evaluation import evaluate_model

    evaluate_model(model, data, registry, inception, beside)


def models(registry: Store = LOCAL_STORE) -> None:
    """List the registered versions, their aliases and figures."""
    from visage.workflows.models import list_models

    list_models(registry)


def promote(
    model: Annotated[str, typer.Argument(help="name@alias or name/version", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Move the alias whatever the gate says")] = False,
    registry: Store = LOCAL_STORE,
) -> None:
    """Make a version the champion, if the gate finds it better."""
    from visage.registry.models import Registry
    from visage.workflows.models import print_promotion

    print_promotion(Registry(registry).promote(model, force), registry)


def rollback(
    name: Annotated[str, typer.Argument(help="Registered model, visage-METHOD", show_default=False)],
    registry: Store = LOCAL_STORE,
) -> None:
    """Make the previous champion the champion again."""
    from visage.registry.models import Registry
    from visage.workflows.terminal import serving

    facts = Registry(registry).rollback(name)
    typer.echo(f"{facts.name}: version {facts.version} is the champion again.")
    typer.echo(f"next: {serving(registry)}; an endpoint that runs takes it over by itself")


def ui(
    registry: Store = LOCAL_STORE,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1", min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow's pages on the configured store, until Ctrl-C; of a server, say where they open on the runs."""
    from visage.registry.store import absolute, database_of
    from visage.registry.ui import pages, views

    def tell(url: str) -> None:
        path = next(iter(views(registry)), None)
        typer.echo(f"The runs by their score: {url}{path}" if path else f"{url}: holds no training and no study yet.")

    if database_of(registry) is None:
        tell(absolute(registry))
        return
    with pages(registry, port) as (url, process):
        tell(url)
        typer.echo(f"MLflow's pages are at {url}; Ctrl-C ends them.")
        process.wait()


def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="File to write, such as model.onnx", show_default=False)],
    kind: Annotated[Literal["onnx"], typer.Option("--format", help="Kind of file")] = "onnx",
    registry: Store = LOCAL_STORE,
) -> None:
    """Write a model as one file that runs without Visage, proven to give the same faces."""
    from visage.registry.export import export_onnx
    from visage.registry.models import Registry

    found = export_onnx(Registry(registry).fetch(model), out)
    typer.echo(f"{out}: written; in onnxruntime it differs from torch by {127.5 * found:.2g} of 255 levels at most.")
    typer.echo("next: docs/export.md has the lines that ask it")
