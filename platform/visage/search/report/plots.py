"""The figures of a study: Optuna's own, kept as pages that need no network."""

import warnings
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from visage.search.study.endings import State

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from plotly.graph_objects import Figure


def figures(study: "Study") -> "dict[str, Figure]":
    """By name: history, parallel_coordinates, importances, and pareto_front where there are two or three objectives.

    History and parallel coordinates show the score. A figure that the study has too few complete trials for is left
    out: one for history and front, two different ones for the others.
    """
    from optuna import visualization as draw

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("state") == State.COMPLETE]
    drawn: dict[str, Figure] = {}
    if not complete:
        return drawn
    names = study.metric_names or [f"objective {index}" for index in range(len(study.directions))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna marks some of them as experimental
        drawn["history"] = draw.plot_optimization_history(study, target=_score, target_name="score")
        if len(names) in (2, 3):
            drawn["pareto_front"] = draw.plot_pareto_front(study, target_names=names)
        if len({_score(trial) for trial in complete}) > 1:
            drawn["parallel_coordinates"] = draw.plot_parallel_coordinate(study, target=_score, target_name="score")
            # Optuna measures what makes a target low, and low of the negative is high of the score.
            drawn["importances"] = draw.plot_param_importances(
                study, target=lambda trial: -_score(trial), target_name="score"
            )
    return drawn


def _score(trial: "FrozenTrial") -> float:
    return float(trial.user_attrs["score"])


def embedded(drawn: "Mapping[str, Figure]") -> dict[str, str]:
    """Each figure as a piece of HTML. The first holds the drawing library, 5 MB, so that a page needs no network."""
    return {
        name: figure.to_html(full_html=False, include_plotlyjs=not place)
        for place, (name, figure) in enumerate(drawn.items())
    }


def page(title: str, drawn: "Mapping[str, Figure]") -> str:
    """A whole self-contained page with the figures one below the other."""
    parts = "\n".join(embedded(drawn).values())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{parts}\n</body></html>\n"
    )
