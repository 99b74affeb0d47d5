"""How like its input a model's face is, as the identity judge sees it, beside how like a true pair is.

    python benchmarks/likeness.py BUNDLE --data FACE_SET

Cosines over all pairs of the test people with a true face, by the face set's own judges (after `make judges` and a
training with `judge.networks=outside`: those from outside), and the share of the true change, at some intensities.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from visage.faces.faceset import FaceSet
from visage.judging.judges import Judges
from visage.judging.networks.train import stored_networks
from visage.judging.pairs import NONE, pairs
from visage.registry.bundle import read_bundle

INTENSITIES = (0.75, 1.0, 1.1, 1.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    faces, generator = FaceSet.open(arguments.data), read_bundle(arguments.bundle).generator().eval()
    networks = stored_networks(faces)
    if networks is None:
        sys.exit(f"{arguments.data}: holds no judges; visage evaluate makes them.")
    judges = Judges(networks, faces, "test", "cpu")
    asked = pairs(faces, "test", seed=0)
    asked = asked.take(np.flatnonzero(asked.truth != NONE))
    own, true = judges.seen.embedding[asked.input], judges.seen.embedding[asked.truth]
    print(f"{len(asked)} pairs; cosine of input and true face: {np.mean(np.sum(own * true, 1)):.3f}")
    for intensity in INTENSITIES:
        cosine, change, true_change = [], [], []
        for some, made in judges.generated(generator, asked, intensity):
            columns = judges.columns(judges.judge(made), some, some.input)
            cosine.append(columns["identity_similarity"])
            change.append(columns["change"])
            true_change.append(columns["true_change"])
        share = np.concatenate(change).mean() / np.concatenate(true_change).mean()
        every = np.concatenate(cosine)
        print(f"intensity {intensity}: cosine {every.mean():.3f} (least {every.min():.2f}), change {share:.3f}")


if __name__ == "__main__":
    main()
