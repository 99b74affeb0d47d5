"""What the study's run in MLflow holds: a description for people, figures, and all trials as a table."""

import csv
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from visage.config import Experiment
from visage.registry.models import Promotion
from visage.registry.tracking import RunLog, Tracking
from visage.search.report import plots
from visage.search.report.markdown import note
from visage.search.study.kept import KEEP, kept_of
from visage.search.study.records import table
from visage.search.study.summary import Summary, summarise

if TYPE_CHECKING:
    from optuna import Study


def record_study(study: "Study", run: RunLog) -> None:
    """Description, counts and best values, and under study/ the figures and the table."""
    describe(run, summarise(study))
    with tempfile.TemporaryDirectory(prefix="visage-") as folder:
        write_record(study, Path(folder))
        run.artifacts(Path(folder), "study")


def describe(run: RunLog, summary: Summary) -> None:
    """The study's description and, as metrics that MLflow's tables sort by, its counts and its best trial's values."""
    run.note(note(summary))
    figures = {f"trials/{state.replace(' ', '_')}": float(count) for state, count in summary.counts.items()}
    if summary.best:
        reached = {"score": summary.best.score or 0.0, **summary.best.values}
        figures |= {"best/trial": float(summary.best.number)} | {f"best/{name}": v for name, v in reached.items()}
    run.log(figures, sum(summary.counts.values()))


def conclude(experiment: Experiment, result: Summary, promotion: Promotion) -> None:
    """Add to the study, in its database and in MLflow, what became of its best trial's setting."""
    assert result.best
    facts, verdict, study = promotion.facts, promotion.verdict, result.study
    model = facts.label
    outcome = {"trial": result.best.number, "model": model, "run_id": facts.run_id, "alias": promotion.alias}
    study.set_user_attr("outcome", outcome | {"decision": verdict.decision, "reasons": list(verdict.reasons)})
    tracking = Tracking(experiment.registry.tracking_uri, experiment.registry.experiment)
    run = tracking.run(result.run_id)
    run.note(note(summarise(study)))
    run.tag("visage.model", model)
    run.tag("visage.verdict", verdict.decision)


def write_record(study: "Study", folder: Path) -> None:
    """What the study's run holds: trials.csv and figures.html."""
    rows = table(study)
    if KEEP in study.user_attrs:
        kept = kept_of(study, study.user_attrs[KEEP]).numbers
        rows = [row if row["number"] in kept else {**row, "checkpoint_path": ""} for row in rows]
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "figures.html").write_text(plots.page(f"Study {study.study_name}", plots.figures(study)))
