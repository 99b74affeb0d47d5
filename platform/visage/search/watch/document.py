"""A study as its page shows it, made of the summary that the terminal and MLflow show too."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from visage.registry.tracking import flattened
from visage.search.study.lock import runs_now
from visage.search.study.rungs import rungs
from visage.search.study.summary import Summary
from visage.search.watch.schema import Setting, Study, Trial

if TYPE_CHECKING:
    import optuna


def document(study: "optuna.Study", summary: Summary, experiment: Mapping[str, Any]) -> Study:
    """The page's document. summary: of this study, just made. experiment: as it was begun."""
    images = experiment["train"]["images"]
    runs = runs_now(study)
    return Study(
        name=summary.name,
        summary=str(summary),
        runs=runs,
        planned=summary.planned,
        counts=summary.counts,
        objectives=summary.objectives,
        constraints=list(summary.constraints),
        settings=_settings(summary),
        fixed=_fixed(experiment, summary),
        trials=_trials(summary),
        why=list(summary.why),
        spending=summary.spending,
        stopped=bool(summary.stopped),
        outcome=_outcome(summary.outcome),
        checkpoints=summary.checkpoints,
        look=summary.look,
        images=images,
        rungs=rungs(experiment["search"], images),
        seed=experiment["train"]["seed"],
    )


def _settings(summary: Summary) -> list[Setting]:
    able = [line for line in summary.lines[:2] if line.feasible]
    leader, second = ([line.params for line in able] + [{}, {}])[:2]
    return [
        Setting(
            path=path,
            searched=searched,
            leader=leader.get(path),
            second=second.get(path),
            importance=summary.importances.get(path),
        )
        for path, searched in summary.space.items()
    ]


def _fixed(experiment: Mapping[str, Any], summary: Summary) -> dict[str, str]:
    told = {name: part for name, part in experiment.items() if name not in ("search", "ablation")}
    return {path: text for path, text in flattened(told) if path not in summary.space}


def _trials(summary: Summary) -> list[Trial]:
    front = set(summary.front)
    return [
        Trial(
            **dict(line),
            rank=rank if line.feasible else None,
            front=line.number in front,
            repeat=summary.repeating(line),
        )
        for rank, line in enumerate(summary.lines, 1)
    ]


def _outcome(found: dict[str, Any]) -> str:
    if not found:
        return ""
    now = f"; it became {found['alias']}" if found["alias"] else ""
    return (
        f"The setting of trial {found['trial']} became {found['model']}; the gate's verdict: {found['decision']}{now}."
    )
