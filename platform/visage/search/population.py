"""Population based training: poor trials take over the state of good ones and change their weights while they train.

What comes out is a schedule of weights and no point of a space, so no sampler suggests it and no database keeps it:
it is in MLflow alone.
"""

from typing import Any

from optuna.samplers import RandomSampler
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search.sample import Domain

from visage.config import Dimension
from visage.config.experiment import Search
from visage.search.ledger import Ledger
from visage.search.ray_private import require_new_config
from visage.search.space import Space

CHECKPOINTS = 4  # kept of each trial, as another may be about to take one over


class Population(PopulationBasedTraining):
    """Gives every trial of a population its first values, perturbs them, and tells the ledger how trials ended.

    Each trial is looked at every `grace_images`; one of the last quarter goes on from one of the first, with its
    values times 0.8 or 1.2, or drawn anew.
    """

    def __init__(self, ledger: Ledger, search: Search) -> None:
        require_new_config()
        super().__init__(
            time_attr="images",
            metric="score",
            mode="max",
            perturbation_interval=search.grace_images,
            hyperparam_mutations={"values": {path: _domain(one) for path, one in search.space.items()}},
            require_attrs=False,  # a trial that diverged reports no metrics
            log_config=False,
        )
        self.ledger, self.space = ledger, search.space
        ledger.study.sampler = RandomSampler(seed=search.seed)
        self.members = [ledger.study.ask() for _ in range(search.trials)]
        for member in self.members:
            Space(search.space)(member)

    def first_settings(self) -> dict[str, Any]:
        """What Tune gives the trials: {"number", "values", "study", "place"}, as `StudySearch` suggests."""
        values = [member.params for member in self.members]
        numbers = tune.grid_search(list(range(len(values))))
        drawn = tune.sample_from(lambda spec: dict(values[spec["config"]["number"]]))
        return {"number": numbers, "values": drawn, **self.ledger.identity()}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        self.ledger.trials[trial.trial_id] = self.members[trial.config["number"]]

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, trial, result)
        for path, value in trial.config["values"].items():
            self.ledger.note(trial.trial_id, path, value)
        self.ledger.ended(trial.trial_id, trial.last_result)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        taken, how = super()._get_new_config(trial, trial_to_clone)
        values = {path: self.space[path].nearest(value) for path, value in taken["values"].items()}
        return trial.config | {"values": values}, how  # with its own number, or it would write to the other's folder

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the Tuner pickles its settings for a restore that is never made


def _domain(dimension: Dimension) -> Domain | list[Any]:
    if dimension.choice is not None:
        return list(dimension.choice)
    low, high = dimension.ends()
    return tune.loguniform(low, high) if dimension.log_uniform else tune.uniform(low, high)
