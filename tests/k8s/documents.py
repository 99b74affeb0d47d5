"""What the tests look for in the rendered manifests."""

from collections.abc import Iterator
from typing import Any

DEPLOYED = ("base", "overlays/local", "overlays/gpu", "overlays/production")
Documents = dict[str, list[dict[str, Any]]]


def named(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in documents if each["kind"] == kind}


def pods(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template in a document, with where it stands."""
    if isinstance(node, dict):
        if "containers" in node:
            yield path, node
        for key, value in node.items():
            yield from pods(value, f"{path}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from pods(value, f"{path}/{number}")


def all_pods(rendered: Documents) -> list[tuple[str, dict[str, Any]]]:
    found = [
        (f"{folder} {each['kind']} {each['metadata']['name']}{path}", pod)
        for folder, documents in rendered.items()
        for each in documents
        for path, pod in pods(each)
    ]
    assert len(found) > 20
    return found
