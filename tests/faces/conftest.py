from pathlib import Path

import pytest

from tests.faces.photos import people_folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine people with two expressions, enough for all three parts."""
    return people_folder(tmp_path_factory.mktemp("photographs"), 9)
