"""The commands of the endpoint, and the demo, which ends there; heavy imports happen inside."""

from pathlib import Path
from typing import Annotated

import typer

from visage.cli.options import LOCAL_STORE, Port, Store
from visage.errors import UserError


def compare(
    name: Annotated[
        str, typer.Argument(help="Served model, visage-METHOD; or a version, name/version", show_default=False)
    ],
    other: Annotated[
        str | None, typer.Argument(help="Version to hold it against, name/version", show_default=False)
    ] = None,
    url: Annotated[str, typer.Option(help="The endpoint's address, for a served model")] = "http://127.0.0.1:8000",
    eyes: Annotated[bool, typer.Option("--eyes", help="Show faces of both blind, on a page, to choose from")] = False,
    port: Port = 0,
    registry: Store = LOCAL_STORE,
) -> None:
    """Hold two versions against one another; or show what an endpoint's self-check says of its challenger."""
    from visage.workflows.compare import compare_models, compare_versions

    if other is not None:
        compare_versions(name, other, registry, eyes=eyes, port=port)
    elif eyes:
        raise UserError("--eyes: shows two versions; name both, such as visage-METHOD/1 visage-METHOD/2.")
    else:
        compare_models(name, url)


def serve(
    config: Annotated[Path | None, typer.Argument(help="YAML file of the endpoint, such as configs/serve.yaml")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as port=8001")
    ] = None,
) -> None:
    """Deploy the champion as an endpoint on Ray Serve."""
    from serve_app.app import serve as serve_app
    from visage.config.read import read_serving

    serve_app(read_serving(config, settings or ()), block=True)


def key(
    name: Annotated[str, typer.Argument(help="Whose key it is, as logs and metrics name it", show_default=False)],
    keys: Annotated[Path | None, typer.Option(help="Add it to this file, access.keys of the endpoint")] = None,
) -> None:
    """Make an API key of the endpoint and show it once; only its hash is kept."""
    from serve_app.api_keys import print_key

    print_key(name, keys)


def demo(keep: Annotated[bool, typer.Option("--keep", help="Leave the endpoint on until Ctrl-C")] = False) -> None:
    """The whole road on procedural faces: prepare, tune, register, gate, serve, query, report."""
    from visage.workflows.demo.run import run

    run(keep)
