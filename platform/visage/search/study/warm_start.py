"""Starting points for a study: the best trials of an earlier one."""

from typing import TYPE_CHECKING, Any

from visage.config.experiment import Search
from visage.errors import UserError
from visage.search.study.endings import State
from visage.search.study.records import feasible, load_study

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SHARE = 4  # one in so many trials of the new study repeats an earlier setting
MOST = 10
FROM = "warm_start"  # user attribute of such a trial: "STUDY NUMBER"


def check_warm_start(search: Search) -> list["FrozenTrial"]:
    """The trials to start from: those of the highest scores that were complete and met their own constraints.

    Raises UserError when the storage holds no such study, or the study no such trial.
    """
    name = search.warm_start
    if name is None:
        return []
    if name == search.name:
        raise UserError(f"search.warm_start = {name}: is the study itself; go on with it by --resume, or name another.")
    earlier = load_study(name, search.storage).get_trials(deepcopy=False)
    good = [trial for trial in earlier if trial.user_attrs.get("state") == State.COMPLETE and feasible(trial)]
    if not good:
        raise UserError(f"search.warm_start = {name}: has no complete trial that meets its constraints; leave it out.")
    good.sort(key=lambda trial: -float(trial.user_attrs["score"]))
    return good[: min(MOST, max(1, search.trials // SHARE))]


def warm_start(study: "Study", search: Search, good: list["FrozenTrial"]) -> list[str]:
    """Queue the values of earlier trials, to be tried first; returns what was left out of them, a sentence each.

    A value that the space does not hold is left out, and the sampler gives one in its place.
    """
    said = []
    for trial in good:
        values: dict[str, Any] = {}
        for path, value in trial.params.items():
            if path not in search.space:
                said.append(f"trial {trial.number} of {search.warm_start}: {path} = {value} is not searched here")
            elif not search.space[path].contains(value):
                said.append(
                    f"trial {trial.number} of {search.warm_start}: {path} = {value} lies outside its range here"
                )
            else:
                values[path] = value
        if values:
            study.enqueue_trial(values, user_attrs={FROM: f"{search.warm_start} {trial.number}"})
    return said
