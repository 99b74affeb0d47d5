"""Procedural faces: how fast they are drawn, and whether a network can tell people and expressions on unseen people.

    OMP_NUM_THREADS=1 python benchmarks/synthetic_faces.py [--people 240] [--epochs 8]

Prints JSON: faces per second on one core by size; the verification AUC of unseen people by a discriminant embedding
of the inner face alone (pairs of two sittings, any two expressions); the accuracy of a small convolutional expression
classifier on unseen people. Both are trained on the first four fifths of the people.
"""

import argparse
import json
import time
from itertools import product

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.nn import functional

from visage.faces.align import inner_face_mask
from visage.faces.facs import EXPRESSIONS, prototype
from visage.faces.synthetic import picture_of, render, traits
from visage.faces.synthetic.muscles import Nuisance

SIZE = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {"faces_per_second_per_core": {size: speed(size) for size in (64, 128, 256)}}
    print(json.dumps(result), flush=True)
    result |= recognised(options.people, options.epochs, options.seed)
    print(json.dumps(result))


def speed(size: int) -> float:
    """Faces per second of this process's CPU time, over people and expressions."""
    people = [traits(seed) for seed in range(max(8, 12800 // size))]
    faces = [prototype(expression) for expression in EXPRESSIONS]
    render(people[0], faces[0], size)
    start = time.process_time()
    for number, person in enumerate(people):
        render(person, faces[number % len(faces)], size, Nuisance.drawn(np.random.default_rng([0x4E, number])))
    return round(len(people) / (time.process_time() - start), 1)


def network(outputs: int) -> nn.Module:
    """A small convolutional network on 64 px faces."""
    layers: list[nn.Module] = []
    before = 3
    for width in (24, 48, 96, 128):
        layers += [nn.Conv2d(before, width, 3, 2, 1), nn.GroupNorm(8, width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, outputs))


def fit(model: nn.Module, faces: torch.Tensor, loss, epochs: int) -> None:
    """Train by Adam with one-cycle steps; `loss` maps (outputs, indices) to a scalar."""
    steps = epochs * (len(faces) // 64)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(faces))[: len(faces) // 64 * 64].split(64):
            optimiser.zero_grad()
            batch = functional.pad(faces[chosen], (2, 2, 2, 2), mode="replicate")
            left, top = torch.randint(0, 5, (2,)).tolist()
            loss(model(batch[..., top : top + SIZE, left : left + SIZE]), chosen).backward()
            optimiser.step()
            schedule.step()


def recognised(people: int, epochs: int, seed: int) -> dict[str, object]:
    """Train on four fifths of the people, judge on the rest."""
    torch.manual_seed(seed)
    shots = product(range(people), range(2), EXPRESSIONS)
    rows, pictures = zip(*(picture_of(one, shown, sitting, SIZE, seed) for one, sitting, shown in shots), strict=True)
    faces = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    names = sorted({row.identity for row in rows})
    identity = torch.tensor([names.index(row.identity) for row in rows])
    expression = torch.tensor([EXPRESSIONS.index(row.expression) for row in rows])
    session = torch.tensor([row.session for row in rows])
    known = identity < people * 4 // 5
    start = time.perf_counter()

    classifier = network(len(EXPRESSIONS))
    fit(classifier, faces[known], lambda out, i: functional.cross_entropy(out, expression[known][i]), epochs)
    with torch.no_grad():
        hit = (classifier(faces[~known]).argmax(1) == expression[~known]).float()
    per_expression = {name: hit[expression[~known] == k].mean().item() for k, name in enumerate(EXPRESSIONS)}

    small = functional.avg_pool2d(faces * torch.from_numpy(inner_face_mask(SIZE)), 2).flatten(1).numpy()
    discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    embedding = make_pipeline(PCA(200, random_state=0), discriminant).fit(small[known], identity[known].numpy())
    points = functional.normalize(torch.from_numpy(embedding.transform(small[~known])))
    similar = points @ points.T
    who, sitting = identity[~known], session[~known]
    pairs = torch.triu(sitting[:, None] != sitting[None, :], 1)
    same = (who[:, None] == who[None, :])[pairs]
    impostors = similar[pairs][~same].sort().values
    threshold = impostors[int(len(impostors) * 0.99)]
    return {
        "people": {"trained_on": int(known.sum()) // (2 * len(EXPRESSIONS)), "unseen": people - people * 4 // 5},
        "expression_accuracy": round(hit.mean().item(), 4),
        "by_expression": {name: round(value, 3) for name, value in per_expression.items()},
        "verification_auc": round(float(roc_auc_score(same, similar[pairs])), 4),
        "verified_at_far_0.01": round((similar[pairs][same] > threshold).float().mean().item(), 4),
        "seconds_of_training": round(time.perf_counter() - start),
    }


if __name__ == "__main__":
    main()
