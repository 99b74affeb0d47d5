"""The demo's trials are as long as the machine trains in the time they have."""

from pathlib import Path

import pytest

from visage.config import Experiment, read_config
from visage.workflows.demo import size

ROOT = Path(__file__).parents[1]


def sized(step: tuple[float, float], cores: int, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setattr(size, "step_seconds", lambda *_: step)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    experiment = read_config(Experiment, ROOT / "configs" / "demo.yaml")
    found = size.sized(experiment, None, None)  # type: ignore[arg-type]
    assert found.train.evaluate_every == found.search.grace_images == found.train.images // 4
    assert found.train.images % (4 * found.train.batch) == 0
    return found


@pytest.mark.parametrize(("cores", "share"), [(8, 1.0), (2, 1.0), (1, 0.5)])
def test_a_trial_is_as_long_as_the_machine_is_fast(cores: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    step = (0.05, 0.1)
    found = sized(step, cores, monkeypatch)
    late = found.loss.adversarial.start
    a_step = late * step[0] + (1 - late) * step[1]
    lasts = found.train.images / found.train.batch * a_step
    assert 0 <= size.TRIAL_SECONDS * share - lasts <= size.LOOKS * a_step  # less than one look's rounding


@pytest.mark.parametrize(("step", "images"), [((5, 5), size.FEWEST), ((1e-4, 1e-4), size.MOST)])
def test_a_trial_is_never_too_short_nor_too_long(
    step: tuple[float, float], images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sized(step, 8, monkeypatch).train.images == images
