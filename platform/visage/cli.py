"""The command line. Each command reads its arguments, calls the library and prints; heavy imports happen inside."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from visage.errors import UserError
from visage.interrupt import end_by_sigterm_too
from visage.job_commands import FREE, jobs, submit
from visage.picture_commands import LOCAL_STORE, Store, inspect, transfer

if TYPE_CHECKING:
    from visage.config import Experiment

app = typer.Typer(
    help="Gives a face another expression while it stays the same person.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[
    Path, typer.Argument(help="YAML file of the experiment, such as one of configs/", show_default=False)
]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as train.batch=8")]
Model = Annotated[str, typer.Argument(help="name@alias, name/version, or the folder of a bundle", show_default=False)]
Restartable = Annotated[
    bool, typer.Option("--restartable", help="Resume what was begun, begin what was not: for jobs that start again")
]
LOCAL_STUDIES = "sqlite:///runs/optuna.db"


@app.command()
def prepare(
    out: Annotated[str, typer.Option(help="Folder, or s3:// address, of the face set to make", show_default=False)],
    layout: Annotated[
        Literal["kdef", "rafd", "oulu-casia", "london", "cfd", "mmi", "folder", "unpaired", "synthetic"],
        typer.Option(help="How the source names its faces"),
    ],
    source: Annotated[Path | None, typer.Option(help="Folder of the photographs; none for synthetic")] = None,
    size: Annotated[int, typer.Option(help="Side of a face in pixels, a power of two from 32 to 512")] = 64,
    people: Annotated[int, typer.Option(help="synthetic: number of people")] = 160,
    pictures: Annotated[int, typer.Option(help="synthetic: pictures of each person and expression")] = 2,
    seed: Annotated[int, typer.Option(help="synthetic: who the people are")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any further setting, as data.kdef.angles=[HL,S,HR]"),
    ] = None,
) -> None:
    """Find, align and pack faces: photographs or procedural people to a face set.

    Cut off, the same command goes on where it stopped.
    """
    from visage.config.data import Preparation
    from visage.config.read import apply_setting, validated

    values: dict[str, Any] = {"dir": out, "layout": layout, "source": source, "size": size}
    values |= {"people": people, "pictures": pictures, "seed": seed}
    tree = {"data": values}
    for setting in settings or ():
        apply_setting(tree, setting)
    data = validated(Preparation, tree, "visage prepare").data
    from visage.commands import prepare_faces

    prepare_faces(data)


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="YAML file of the experiment; none with --from-run")] = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; in runs/train, by its name, by default")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint")] = False,
    restartable: Restartable = False,
    run: Annotated[str | None, typer.Option("--from-run", metavar="RUN_ID", help="Repeat this run or trial")] = None,
    registry: Store = LOCAL_STORE,
) -> None:
    """Train one model, judge it on the test people and register it."""
    if (config is None) == (not run):
        raise UserError("visage train: takes a CONFIG or --from-run RUN_ID, one of them; see `visage train --help`.")
    out = out or Path("runs/train") / (config.stem if config else f"repeat-{str(run)[:8]}")
    goes_on = True if resume else None if restartable else False
    if run:
        from visage.search_commands import repeat_run

        return repeat_run(run, settings or [], registry, out, goes_on)
    assert config
    from visage.commands import train_and_publish

    train_and_publish(_experiment(config, settings), out, goes_on)


@app.command()
def tune(
    config: Config,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Finish a study that was cut off, or extend one")] = False,
    restartable: Restartable = False,
) -> None:
    """Search loss weights and triplet margin, then register the best setting's model and let the gate judge it."""
    from visage.search_commands import tune_and_publish

    tune_and_publish(_experiment(config, settings), resume, restartable)


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="Name of the study, search.name in its configuration")],
    storage: Annotated[
        str, typer.Option(envvar="OPTUNA_STORAGE", help="The study's database, search.storage")
    ] = LOCAL_STUDIES,
) -> None:
    """Show a study, live while it runs: which trial leads and why, all trials, and what mattered."""
    from visage.search_commands import show_study

    show_study(name, storage)


@app.command()
def ablate(
    config: Config,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; runs/ablation/NAME by default")] = None,
) -> None:
    """Train variants of a model, several seeds each, and hold them against one another; goes on where it stopped."""
    from visage.search_commands import ablate_and_record

    experiment = _experiment(config, settings)
    ablate_and_record(experiment, out or Path("runs/ablation") / experiment.ablation.name)


@app.command()
def evaluate(
    model: Model,
    data: Annotated[str, typer.Option(help="Folder, or s3:// address, of the face set", show_default=False)],
    inception: Annotated[Path | None, typer.Option(help="Inception weights of torch-fidelity: adds FID")] = None,
    beside: Annotated[str | None, typer.Option(help="eft: a UC-GAN model that is told the driver's class")] = None,
    registry: Store = LOCAL_STORE,
) -> None:
    """Judge a model on the test people of a face set, beside real faces, the copied input and a mean face."""
    from visage.commands import evaluate_model

    evaluate_model(model, data, registry, inception, beside)


@app.command()
def models(registry: Store = LOCAL_STORE) -> None:
    """List the registered versions, their aliases and figures."""
    from visage.model_commands import list_models

    list_models(registry)


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="name@alias or name/version", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Move the alias whatever the gate says")] = False,
    registry: Store = LOCAL_STORE,
) -> None:
    """Make a version the champion, if the gate finds it better."""
    from visage.model_commands import promote_model

    promote_model(model, force, registry)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Registered model, such as visage-ucgan", show_default=False)],
    registry: Store = LOCAL_STORE,
) -> None:
    """Make the previous champion the champion again."""
    from visage.registry.models import Registry

    facts = Registry(registry).rollback(name)
    typer.echo(f"{facts.name}: version {facts.version} is the champion again.")


@app.command()
def compare(
    name: Annotated[str, typer.Argument(help="Served model, such as visage-ucgan", show_default=False)],
    url: Annotated[str, typer.Option(help="The endpoint's address")] = "http://127.0.0.1:8000",
) -> None:
    """Show what a running endpoint's self-check says of the challenger against the champion."""
    from visage.live_commands import compare_models

    compare_models(name, url)


@app.command()
def ui(
    registry: Store = LOCAL_STORE,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1", min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow's pages on the configured store; Ctrl-C ends them."""
    from visage.registry.ui import pages

    with pages(registry, port) as (url, process):
        typer.echo(f"MLflow's pages are at {url}; Ctrl-C ends them.")
        process.wait()


@app.command()
def edit(
    photo: Annotated[Path, typer.Argument(help="Photograph with one face", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="Expression, such as happy", show_default=False)],
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .jpg or .webp", show_default=False)],
    intensity: Annotated[float, typer.Option(help="0 to 1.5")] = 1.0,
    model: Annotated[str, typer.Option(help="name@alias, name/version, or a bundle")] = "visage-ucgan@champion",
    url: Annotated[str | None, typer.Option(help="Ask this endpoint instead of loading a model")] = None,
    view: Annotated[Literal["photo", "face"], typer.Option(help="The whole photograph, or the aligned face")] = "photo",
    animation: Annotated[bool, typer.Option("--animation", help="From neutral to it, as a moving .webp")] = False,
    registry: Store = LOCAL_STORE,
) -> None:
    """Give the face in a photograph another expression."""
    from visage.pictures import edit_photo

    edit_photo(photo, to, out, intensity, model, url, view, registry, animation)
    typer.echo(f"{out}: written.")


app.command()(transfer)
app.command()(inspect)


@app.command()
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


@app.command()
def serve(
    config: Annotated[Path | None, typer.Argument(help="YAML file of the endpoint, such as configs/serve.yaml")] = None,
    settings: Settings = None,
) -> None:
    """Deploy the champion as an endpoint on Ray Serve."""
    from serve_app.app import serve as serve_app
    from visage.config.read import read_serving

    serve_app(read_serving(config, settings or ()), block=True)


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is, as logs and metrics name it", show_default=False)],
    keys: Annotated[Path | None, typer.Option(help="Add it to this file, access.keys of the endpoint")] = None,
) -> None:
    """Make an API key of the endpoint and show it once; only its hash is kept."""
    from serve_app.keys import print_key

    print_key(name, keys)


@app.command()
def demo(keep: Annotated[bool, typer.Option("--keep", help="Leave the endpoint on until Ctrl-C")] = False) -> None:
    """The whole road on procedural faces: prepare, tune, register, gate, serve, query, report."""
    from visage.demo.run import run

    run(keep)


def _experiment(config: Path, settings: list[str] | None) -> "Experiment":
    from visage.config import Experiment, read_config

    return read_config(Experiment, config, settings or ())


app.command(context_settings=FREE)(submit)
app.command()(jobs)


def main() -> None:
    """The console command: a mendable fault is one sentence on stderr and exit status 2."""
    end_by_sigterm_too()
    try:
        app()
    except UserError as error:
        print("visage:", *str(error).split(), file=sys.stderr)  # one line, whatever a file is called
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
