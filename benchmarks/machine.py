"""What a figure was measured with, said by every benchmark in the same words."""

import os
import platform
import sys
from importlib import import_module
from typing import Any


def measured_with(*packages: str) -> dict[str, Any]:
    """The machine, and the versions of Python and of the packages."""
    versions = {"python": sys.version.split()[0]} | {name: import_module(name).__version__ for name in packages}
    return {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": versions}
