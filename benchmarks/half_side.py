"""Whether first images at half the side make a training shorter: configs/synthetic.yaml with and without them.

    python benchmarks/half_side.py [--seeds 5] [--first 400] [--stops 800 1200]

A generator at half the side learns from the same people, drawn so; what fits of it is then where the whole
one begins: the U-Net's levels from the top, the maps enlarged. Printed are the CPU seconds of the steps, both stages
counted, and the score of the validation people at the whole side. One thread, float32.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from visage.config import Experiment, read_config
from visage.faces.faceset import FaceSet
from visage.faces.prepare import prepare_if_absent
from visage.judging.comparison import over_seeds
from visage.judging.judges import Judges
from visage.judging.networks.train import FaceNetworks, face_networks
from visage.methods import method_of
from visage.training.trainer import CPU, Trainer, here

ROOT = Path(__file__).parents[1]
SIDE = 64


def experiment(size: int, images: int, seed: int) -> Experiment:
    changed = {
        "data.size": size,
        "data.dir": f"runs/data/synthetic-{size}",
        "train.images": images,
        "train.seed": seed,
        "train.precision": "float32",
        "judge.networks": "fitted",
    }
    return read_config(
        Experiment, ROOT / "configs" / "synthetic.yaml", [f"{key}={value}" for key, value in changed.items()]
    )


def trainer(size: int, images: int, seed: int) -> Trainer:
    wanted = experiment(size, images, seed)
    return Trainer(wanted, *judged(wanted), here(wanted.train))


def judged(wanted: Experiment) -> tuple[FaceSet, FaceNetworks]:
    faces = prepare_if_absent(wanted.data)
    return faces, face_networks(faces, wanted.judge)


def steps_until(running: Trainer, images: int) -> float:
    start = time.process_time()
    while running.images < images:
        running.step()
    return time.process_time() - start


def enlarged(whole: dict[str, Tensor], half: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `whole` with those of `half` where they fit: `ups` are counted from the deepest level."""
    deeper = levels(whole) - levels(half)
    found = dict(whole)
    for name, value in half.items():
        words = name.split(".")
        if words[0] == "ups":
            words[1] = str(int(words[1]) + deeper)
        to = ".".join(words)
        if to == "basis.maps":
            value = F.interpolate(value, whole[to].shape[-2:], mode="bilinear")
        if to in whole and whole[to].shape == value.shape and words[0] != "reader":
            found[to] = value.clone()
    return found


def levels(weights: dict[str, Tensor]) -> int:
    return len({name.split(".")[1] for name in weights if name.startswith("ups.")})


def begin_from(running: Trainer, half: Trainer) -> None:
    generator, discriminator = running.method.generator, running.method.discriminator
    generator.load_state_dict(enlarged(generator.state_dict(), half.average))
    if discriminator is not None and half.method.discriminator is not None:
        discriminator.load_state_dict(enlarged(discriminator.state_dict(), half.method.discriminator.state_dict()))
    for name, value in running.weights.items():
        running.average[name].copy_(value)
    running.images = half.images


def main(seeds: int, first: int, stops: list[int]) -> None:
    torch.set_num_threads(1)
    faces, networks = judged(experiment(SIDE, stops[-1], 0))
    judges = Judges(networks, faces, "validation", CPU)
    scores: dict[str, list[float]] = {"whole": [], "half first": []}
    print("from | seed | images | CPU s | score | identity_similarity | expression_change")
    for seed in range(seeds):
        for name, found in scores.items():
            spent, running = 0.0, trainer(SIDE, stops[-1], seed)
            if name != "whole":
                half = trainer(SIDE // 2, stops[-1], seed)
                spent = steps_until(half, first)
                half.drawn.close()
                begin_from(running, half)
            for stop in stops:
                spent += steps_until(running, stop)
                validation = method_of(running.experiment.method.name).validation(running.experiment, judges)
                got = validation.metrics(running.averaged())
                told = (f"{got[key]:.3f}" for key in ("score", "identity_similarity", "expression_change"))
                print(name, seed, stop, f"{spent:.1f}", *told, sep=" | ", flush=True)
            found.append(got["score"])
            running.drawn.close()
    gain = over_seeds([half - whole for whole, half in zip(*scores.values(), strict=True)])
    print(f"half first less whole: {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f} by Student's t)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=400)
    parser.add_argument("--stops", type=int, nargs="+", default=[800, 1200])
    given = parser.parse_args()
    main(given.seeds, given.first, given.stops)
