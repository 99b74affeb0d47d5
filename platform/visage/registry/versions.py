"""The versions of what makes a model."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("visage", "torch", "ray", "mlflow")


def versions() -> dict[str, str]:
    """Python's and the packages' versions, of those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
