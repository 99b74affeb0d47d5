"""The search against random search at equal budget, and what stopping poor trials early saves.

    python benchmarks/search.py [SEEDS] [FOLDER]

The same small but real task for all: procedural people at 64 px learn to smile, the four loss settings of
configs/synthetic_search.yaml searched for the best score on validation people. Three ways to spend the images of
TRIALS whole trials: random search, TPE, and TPE with ASHA (which may begin twice as many trials, and is cut where the
images are spent). A study that is whole in FOLDER is read and not run again. Prints tables in Markdown, and draws
search.png in FOLDER: best score by images and by seconds of training, each line a mean over the seeds.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import measured_with

TRIALS, IMAGES = 20, 1_600
WAYS: dict[str, dict[str, Any]] = {
    "random": {"sampler": "random", "scheduler": "none", "trials": TRIALS},
    "tpe": {"sampler": "tpe", "scheduler": "none", "trials": TRIALS},
    "tpe + asha": {"sampler": "tpe", "scheduler": "asha", "trials": 2 * TRIALS, "grace_images": 800, "reduction": 2},
}
SHARES = (0.25, 0.5, 0.75, 1.0)

Rows = list[dict[str, Any]]  # a study's trials in the order in which they ended


def main(seeds: int, folder: Path) -> None:
    found = {name: list[Rows]() for name in WAYS}
    for seed in range(seeds):
        for name in WAYS:
            found[name].append(run(name, seed, folder))
    report(found)
    draw(found, folder / "search.png")


def run(name: str, seed: int, folder: Path) -> Rows:
    """The trials of one study, run or read."""
    from visage.config import Experiment
    from visage.errors import UserError
    from visage.faces.prepare import prepare_if_absent
    from visage.judging.networks.train import face_networks
    from visage.search.study.records import counted, load_study, table
    from visage.search.tune import tune

    study = f"{name.replace(' + ', '-')}-{seed}"
    experiment = Experiment.model_validate(
        {
            "data": {
                "dir": folder / "faces",
                "layout": "synthetic",
                "people": 120,
                "expressions": ["neutral", "happy"],
            },
            "method": {"width": 8, "discriminator_width": 8, "mask": True},
            "loss": {"adversarial": {"form": "hinge"}, "pixel": {"change": 30}},
            "optim": {"rate": 0.001, "ema_images": 200},
            "judge": {"images": 6_000},
            "train": {"images": IMAGES, "batch": 16, "evaluate_every": 400, "evaluate_pairs": 128, "seed": seed},
            "search": {
                "name": study,
                "seed": seed,
                "objectives": {"score": "max"},
                "storage": f"sqlite:///{folder.absolute()}/optuna.db",
                "space": {
                    "loss.pixel.weight": {"log_uniform": [1, 200]},
                    "loss.pairing.weight": {"uniform": [0, 1]},
                    "loss.triplet.weight": {"log_uniform": [0.01, 10]},
                    "loss.triplet.margin": {"uniform": [0.2, 2.0]},
                },
                **WAYS[name],
            },
            "registry": {"tracking_uri": f"sqlite:///{folder.absolute()}/mlflow.db"},
        }
    )
    face_networks(prepare_if_absent(experiment.data), experiment.judge)
    try:
        kept = load_study(study, experiment.search.storage)
    except UserError:
        kept = None
    if kept is None or len(counted(kept)) < experiment.search.trials:
        print(f"{study} ...", file=sys.stderr)
        tune(experiment, resume=kept is not None)
        kept = load_study(study, experiment.search.storage)
    ended = {trial.number: trial.datetime_complete for trial in kept.get_trials(deepcopy=False)}
    return sorted((row for row in table(kept) if "images" in row), key=lambda row: ended[row["number"]])


def best(rows: Rows, of: str) -> tuple[np.ndarray, np.ndarray]:
    """What was spent when each trial had ended, in images or seconds of training, and the best score until then."""
    spent = np.cumsum([row[of] for row in rows])
    scores = [row["score"] if row["state"] == "complete" else 0.0 for row in rows]
    return spent, np.maximum.accumulate(scores)


def at(rows: Rows, of: str, budget: float) -> float:
    spent, scores = best(rows, of)
    within = scores[spent <= budget]
    return float(within[-1]) if len(within) else 0.0


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval (Student's t over the seeds)."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.3f} ({np.mean(values) - half:.3f} to {np.mean(values) + half:.3f})"


def report(found: dict[str, list[Rows]]) -> None:
    budget = TRIALS * IMAGES
    facts = measured_with("torch", "ray", "optuna")
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    print(f"{facts['machine']}; {versions}; seeds 0 to {len(found['random']) - 1}.\n")
    print(f"Best score once a share of {budget} images is spent.\n")
    print("| | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | end, less random |")
    print("|---" * (len(SHARES) + 2) + "|")
    for name, studies in found.items():
        cells = [interval([at(rows, "images", share * budget) for rows in studies]) for share in SHARES]
        ahead = [
            at(rows, "images", budget) - at(other, "images", budget)
            for rows, other in zip(studies, found["random"], strict=True)
        ]
        print(f"| {name} | " + " | ".join([*cells, "" if name == "random" else interval(ahead)]) + " |")
    print("\nSpent until random search's best score at the end was reached, and trials begun within the budget.\n")
    print("| | seed | images | seconds of training | trials | best score |\n|---|---|---|---|---|---|")
    for name, studies in found.items():
        for seed, rows in enumerate(studies):
            goal = at(found["random"][seed], "images", budget)
            spent = ["never" if (x := reached(rows, of, goal)) is None else f"{x:.0f}" for of in ("images", SECONDS)]
            within = int((best(rows, "images")[0] <= budget).sum())
            print(f"| {name} | {seed} | {spent[0]} | {spent[1]} | {within} | {at(rows, 'images', budget):.3f} |")


SECONDS = "time_total_s"


def reached(rows: Rows, of: str, goal: float) -> float | None:
    spent, scores = best(rows, of)
    there = spent[scores >= goal]
    return float(there[0]) if len(there) else None


def draw(found: dict[str, list[Rows]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, of, label in zip(axes, ("images", SECONDS), ("images", "seconds of training"), strict=True):
        longest = min(best(rows, of)[0][-1] for studies in found.values() for rows in studies)
        longest = TRIALS * IMAGES if of == "images" else longest
        budgets = np.linspace(0, longest, 200)
        for number, (name, studies) in enumerate(found.items()):
            lines = np.array([[at(rows, of, budget) for budget in budgets] for rows in studies])
            for line in lines:
                axis.step(budgets, line, color=f"C{number}", alpha=0.25, linewidth=0.8)
            axis.step(budgets, lines.mean(0), color=f"C{number}", linewidth=2, label=name)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("best score so far, validation people")
    axes[0].legend(loc="lower right")
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 5,
        Path(sys.argv[2] if len(sys.argv) > 2 else "runs/bench-search"),
    )
