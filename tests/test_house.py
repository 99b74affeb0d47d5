"""What holds for the whole house."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tracked(*patterns: str) -> list[Path]:
    shown = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in shown.stdout.splitlines()]


def test_platform_is_no_package() -> None:
    # It would shadow the standard library's module of that name.
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_every_package_is_installed() -> None:
    import tomllib

    named = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(ROOT / top).parts)
        for top, pattern in (
            ("platform", "platform/visage/**/*.py"),
            (".", "serve_app/*.py"),
            (".", "serve_app/page/*"),
            (".", "jobs/*.py"),
        )
        for path in tracked(pattern, pattern.replace("/**", ""))
        if path.is_relative_to(ROOT / top)
    }
    assert found == named


def test_files_fit_in_the_head() -> None:
    long = {str(path): n for path in tracked("*.py") if (n := len(path.read_text().splitlines())) > 300}
    # A bare GPU machine gets one script and nothing beside it, so its parts stand in one file.
    long.pop(str(ROOT / "benchmarks" / "gpu.py"), None)
    assert not {path: n for path, n in long.items() if "/tests/" not in path}


def test_the_map_names_every_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().partition("## Every file")[2]
    named = set()
    for room in text.split("### ")[1:]:
        folder = room.partition("\n")[0]
        named |= {f"{folder}/{name}" for name in re.findall(r"^\| `([\w.]+)` \| \S", room, re.MULTILINE)}
    pages = ("serve_app/page/*", "platform/visage/search/watch/page/*")
    files = tracked("platform/*.py", "serve_app/*.py", *pages, "jobs/*.py", "k8s/*.py")
    found = {str(path.relative_to(ROOT)) for path in files if path.name != "__init__.py" or path.read_text().strip()}
    assert named == found  # a line of docs/architecture.md for each file


def test_the_pages_have_one_look() -> None:
    """The endpoint's page stands above the rooms of the study's, so that neither can have the other's file."""
    styles = [ROOT / folder / "style.css" for folder in ("serve_app/page", "platform/visage/search/watch/page")]
    colours = [re.findall(r"--(?!c\d)[\w-]+: #\w+", style.read_text()) for style in styles]
    assert colours[0] == colours[1]
    assert len(colours[0]) > 20
    icons = {style.with_name("icon.svg").read_bytes() for style in styles}
    assert len(icons) == 1


def test_constraints_hold_no_addresses() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert " @ " not in text


def test_a_method_is_named_in_its_folder_and_the_registry_alone() -> None:
    from visage.methods import METHODS

    rooms = tracked("platform/*.py", "serve_app/*.py", "serve_app/page/*", "jobs/*.py", "client/*")
    methods = ROOT / "platform" / "visage" / "methods"
    own = [methods / "__init__.py", *(methods / name for name in METHODS)]
    named = re.compile(
        rf"\b({'|'.join(METHODS)})\b|UC-GAN|method\.name\s*(==|!=|in)",
        re.IGNORECASE,
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in rooms
        if not any(path.is_relative_to(place) for place in own)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if named.search(line)
    ]
    assert not found  # ask the method of it: methods/base.py
