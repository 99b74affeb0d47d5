"""The parts of a search that need no Ray: space, endings, places, figures."""

import math
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from tests.search.fakes import GOAL, experiment
from visage.config import Dimension
from visage.config.experiment import Train
from visage.errors import UserError
from visage.search.report import plots
from visage.search.study.endings import State, ending_of, reason_of
from visage.search.study.progress import StudyProgress
from visage.search.study.records import flat, open_study, study_folder
from visage.search.suggestions import suggest
from visage.training.resources import concurrency

OBJECTIVES = ("identity_similarity", "score")
RESULT = {"identity_similarity": 0.5, "score": 0.4, "images": GOAL, "time_total_s": 3.0, "done": True}


def test_every_suggestion_lies_in_its_dimension() -> None:
    dimensions = {
        "loss.pixel.weight": Dimension(log_uniform=(1, 200)),
        "loss.triplet.margin": Dimension(uniform=(0.05, 1)),
        "method.width": Dimension(choice=(16, 32)),
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggested = []
    for _ in range(50):
        trial = study.ask()
        suggest(trial, dimensions)
        suggested.append(trial.params)
    assert all(params.keys() == dimensions.keys() for params in suggested)
    assert all(dimensions[path].contains(value) for params in suggested for path, value in params.items())
    # On a log scale half of the draws lie below the geometric mean.
    below = sum(params["loss.pixel.weight"] < math.sqrt(200) for params in suggested)
    assert 15 <= below <= 35


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        ({}, State.COMPLETE, ""),
        ({"images": 300}, State.PRUNED, "stopped at 300 of 900 images"),
        ({"score": math.nan}, State.DIVERGED, "score is nan at 900 images"),
        ({"ssim": math.inf}, State.DIVERGED, "ssim is inf at 900 images"),
        ({"diverged": "loss pixel = nan"}, State.DIVERGED, "loss pixel = nan"),
    ],
)
def test_endings(change: dict[str, object], state: State, reason: str) -> None:
    ending = ending_of(RESULT | change, OBJECTIVES, GOAL)
    assert (ending.state, ending.reason) == (state, reason)


def test_a_trial_that_reported_nothing_failed() -> None:
    assert ending_of({}, OBJECTIVES, GOAL).state is State.FAILED
    without = {name: value for name, value in RESULT.items() if name != "score"}
    assert ending_of(without, OBJECTIVES, GOAL).reason == "ended without reporting score"


def test_the_reason_is_the_inner_error() -> None:
    class Wrapped(Exception):
        def __init__(self, cause: Exception) -> None:
            super().__init__("a long story")
            self.cause = cause

    outer = RuntimeError("outer")
    outer.__cause__ = ValueError("inner\nwith detail")
    assert reason_of(Wrapped(outer)) == "ValueError: inner"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(
    nodes=st.lists(
        st.fixed_dictionaries({"CPU": st.integers(0, 16), "GPU": st.sampled_from([0, 1, 2, 8])}), min_size=1, max_size=4
    ),
    workers=st.integers(1, 4),
    cpus=st.sampled_from([0.5, 1, 3]),
    gpus=st.sampled_from([0, 0.3, 0.5, 1, 2]),
)
def test_as_many_trials_as_their_workers_fit(
    nodes: list[dict[str, float]], workers: int, cpus: float, gpus: float
) -> None:
    assume(workers == 1 or not 0 < gpus < 1)
    train = Train(workers=workers, batch=workers, cpus_per_worker=cpus, gpus_per_worker=gpus)

    def fits(node: dict[str, float]) -> int:
        """Workers placed one by one, each share of a GPU on one GPU."""
        free, placed, left = [1.0] * int(node["GPU"]), 0, node["CPU"]
        while left >= cpus:
            if 0 < gpus < 1:
                room = [index for index, share in enumerate(free) if share >= gpus - 1e-9]
                if not room:
                    break
                free[room[0]] -= gpus
            elif gpus:
                if len(free) < gpus:
                    break
                free = free[int(gpus) :]
            left, placed = left - cpus, placed + 1
        return placed

    expected = sum(map(fits, nodes)) // workers
    if expected:
        assert concurrency(nodes, train) == expected
    else:
        with pytest.raises(UserError, match=r"train\.workers"):
            concurrency(nodes, train)


def test_names_that_look_alike_keep_apart(tmp_path: Path) -> None:
    folders = {study_folder(experiment(tmp_path, "", name=name)) for name in ("a b", "a/b", "a-b", "../a-b", "..")}
    assert len(folders) == 5
    assert all(folder.parent == tmp_path / "studies" for folder in folders)


@pytest.mark.parametrize("storage", ["sqlite:////proc/none/optuna.db", "nonsense", "postgresql://127.0.0.1:1/optuna"])
def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path: Path, storage: str) -> None:
    with pytest.raises(UserError, match=r"^search\.storage = .* cannot be opened") as fault:
        open_study(experiment(tmp_path, "", storage=storage), resume=False)
    assert "\n" not in str(fault.value)


def test_settings_as_dotted_paths(tmp_path: Path) -> None:
    settings = flat(experiment(tmp_path, "").model_dump(mode="json"))
    assert settings["loss.pixel.weight"] == 100
    assert settings["search.space"].keys() == {"loss.pixel.weight", "loss.triplet.margin"}


def test_progress_says_how_far_and_how_good() -> None:
    said = str(StudyProgress(trials=8, complete=3, pruned=1, failed=1, running=2, best=0.4321))
    assert said == "5 of 8 trials (3 complete, 1 pruned, 1 failed, 2 running), best score 0.432"


def study(complete: int, objectives: int) -> optuna.Study:
    made = optuna.create_study(directions=["maximize"] * objectives)
    for index in range(complete):
        made.add_trial(
            create_trial(
                params={"weight": index / 10, "margin": (index * 7 % 10) / 10},
                distributions={name: optuna.distributions.FloatDistribution(0, 1) for name in ("weight", "margin")},
                values=[index / 10] * objectives,
                user_attrs={"state": "complete", "score": index / 10},
            )
        )
    made.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"state": "failed", "reason": "x"}))
    return made


@pytest.mark.parametrize(
    ("complete", "objectives", "names"),
    [
        (0, 2, set()),
        (1, 2, {"history", "pareto_front"}),
        (6, 2, {"history", "pareto_front", "parallel_coordinates", "importances"}),
        (6, 1, {"history", "parallel_coordinates", "importances"}),
    ],
)
def test_figures_that_the_study_allows(complete: int, objectives: int, names: set[str]) -> None:
    drawn = plots.figures(study(complete, objectives))
    assert drawn.keys() == names
    page = plots.page("A <study>", drawn)
    assert page.count('class="plotly-graph-div"') == len(names)
    assert "A &lt;study&gt;" in page
    assert 'src="http' not in page
    assert all("<html" not in piece for piece in plots.embedded(drawn).values())
