"""How many choices find a good setting: a simulated chooser before the faces that the trials of a real study made.

    python benchmarks/eyes.py STUDY [--storage sqlite:///runs/optuna.db] [--simulations 400] [--choices 60]

The chooser sees what the page shows and prefers the face that is nearer to the person's true face (mean absolute
difference of the cells, in levels), with normal noise of as many levels as --noise says; a study's noise is told beside
what settings differ by. Only cells whose true face stands on the sheet are asked. Three ways to choose whom to show are
held against one another: as the page does, pairs by chance, and no choices at all (the setting of the best score).
Quality of a setting: minus its mean distance over all such cells. Nothing is trained.
"""

import argparse
import json
from collections.abc import Callable

import numpy as np

from visage.judging.cells import Sheeted
from visage.judging.choices import Choice, Strengths
from visage.search.watch.looks import Look

Numbers = np.ndarray


def distances(storage: str, name: str) -> tuple[list[str], Numbers, Numbers]:
    """Numbers of the complete trials, how far each of their cells is from the truth (trials x cells), their scores."""
    look = Look(name, storage)
    lines = [line for line in look.known().lines if line.feasible and line.run_id]
    rows = []
    for line in lines:
        sheet = Sheeted(look.face(line.number, line.images), f"trial {line.number}")
        cells = [cell for cell in sheet.cells if cell.truth]
        pairs = ((np.asarray(sheet.cut(cell.box), float), np.asarray(sheet.cut(cell.truth), float)) for cell in cells)
        rows.append([float(np.abs(made - truth).mean()) for made, truth in pairs])
    return [str(line.number) for line in lines], np.array(rows), np.array([line.score for line in lines])


def simulated(names: list[str], far: Numbers, noise: float, count: int, seed: int, by_page: bool) -> str:
    """The trial that is preferred after so many choices."""
    random = np.random.default_rng(seed)
    choices: list[Choice] = []
    for _ in range(count):
        if by_page:
            first, second = Strengths(choices, names).next_pair(random)
        else:
            first, second = random.choice(names, 2, replace=False)
        cell = random.integers(far.shape[1])
        one, other = (far[names.index(each), cell] for each in (first, second))
        better = "first" if one + random.normal(0, noise) < other + random.normal(0, noise) else "second"
        kept = {"first": str(first), "second": str(second), "better": better, "person": "both"}
        choices.append(Choice.model_validate(kept))
    preferred = Strengths(choices, names).preferences()
    return max(names, key=lambda each: preferred[each])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study")
    parser.add_argument("--storage", default="sqlite:///runs/optuna.db")
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--choices", type=int, default=60)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    asked = parser.parse_args()
    names, far, scores = distances(asked.storage, asked.study)
    quality = -far.mean(axis=1)
    spread = float(quality.std(ddof=1))
    print(f"study {asked.study}: {len(names)} complete trials, {far.shape[1]} cells with a true face beside them")
    print(
        f"mean distance to the truth, levels: {-quality.max():.2f} (best) to {-quality.min():.2f}; spread {spread:.2f}"
    )
    result = {"trials": len(names), "cells": far.shape[1], "spread": spread, "rows": []}
    for noise in asked.noise:
        row: dict[str, float] = {"noise": noise}
        for way, found in ways(names, far, scores, noise, asked.choices).items():
            chosen = [quality[names.index(found(seed))] for seed in range(asked.simulations)]
            drawn = np.random.default_rng(0).integers(len(names), size=len(chosen))
            better = np.array(chosen) - quality[drawn]
            row[way] = float((better > 0).mean() + (better == 0).mean() / 2)
            row[f"{way}, lost"] = float(quality.max() - np.mean(chosen))
        result["rows"].append(row)  # type: ignore[attr-defined]
        print("  ".join(f"{key} {value:.3f}" for key, value in row.items()), flush=True)
    print(json.dumps(result))


def ways(names: list[str], far: Numbers, scores: Numbers, noise: float, count: int) -> dict[str, Callable[[int], str]]:
    """Ways to a setting, given a seed."""
    return {
        "page": lambda seed: simulated(names, far, noise, count, seed, by_page=True),
        "by chance": lambda seed: simulated(names, far, noise, count, seed, by_page=False),
        "no choices": lambda seed: names[int(scores.argmax())],
    }


if __name__ == "__main__":
    main()
