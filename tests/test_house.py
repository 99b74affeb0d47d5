"""What holds for the whole house."""

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
        for top, pattern in (("platform", "platform/visage/**/*.py"), (".", "serve_app/*.py"), (".", "jobs/*.py"))
        for path in tracked(pattern, pattern.replace("/**", ""))
        if path.is_relative_to(ROOT / top)
    }
    assert found == named


def test_files_fit_in_the_head() -> None:
    long = {str(path): n for path in tracked("*.py") if (n := len(path.read_text().splitlines())) > 300}
    # A bare GPU machine gets one script and nothing beside it, so its parts stand in one file.
    long.pop(str(ROOT / "benchmarks" / "gpu.py"), None)
    assert not {path: n for path, n in long.items() if "/tests/" not in path}


def test_constraints_hold_no_addresses() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert " @ " not in text
