"""The demo's trials are as long as the machine trains in the time they have."""

from pathlib import Path

import pytest

from visage.config import Experiment, read_config
from visage.workflows.demo import size

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("step", "cores", "images"),
    [((0.05, 0.1), 2, 2_736), ((0.05, 0.1), 1, 1_360), ((5, 5), 2, 800), ((1e-4, 1e-4), 8, 8_000)],
)
def test_a_trial_is_as_long_as_the_machine_is_fast(
    step: tuple[float, float], cores: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "step_seconds", lambda *_: step)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    experiment = read_config(Experiment, ROOT / "configs" / "demo.yaml")
    found = size.sized(experiment, None, None)  # type: ignore[arg-type]
    assert found.train.images == images
    assert found.train.evaluate_every == found.search.grace_images == images // 4
    assert found.train.images % (4 * found.train.batch) == 0
