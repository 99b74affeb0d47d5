"""Training from a face set in shards: the same equalities as from a packed one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.faces.sets import in_shards
from tests.training.test_loop import ignore, weights
from visage.config import Experiment, replaced
from visage.config.experiment import Judge, Train
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.faces.shard_files import ShardFiles
from visage.faces.shared import opened, upload
from visage.judging.networks.train import FaceNetworks
from visage.methods.eft.batches import SwapBatches
from visage.methods.ucgan.config import Loss
from visage.methods.ucgan.likeness import likeness
from visage.training import checkpoint
from visage.training.loop import train
from visage.training.progress import Progress
from visage.training.streamed import StreamedBatches
from visage.training.trainer import Place, Trainer

Judged = tuple[FaceSet, FaceNetworks]
EFT = {"name": "eft", "width": 8, "discriminator_width": 8, "related": 8}


@pytest.fixture(scope="module")
def faces(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """In shards of four people or five; a turn is about 27 tuples."""
    return in_shards(judged[0], tmp_path_factory.mktemp("shards") / "set", 0.3)


@pytest.fixture(scope="module")
def streamed(experiment: Experiment) -> Experiment:
    return replaced(experiment, {"data.shards.window": 3})


@pytest.mark.parametrize("method", [{}, {"method": EFT}], ids=["ucgan", "eft"])
def test_resume_equals_no_interruption(
    judged: Judged, faces: FaceSet, streamed: Experiment, method: dict[str, Any], tmp_path: Path
) -> None:
    """Three windows; the first of them has gone where the run goes on."""
    asked = Experiment.model_validate(streamed.model_dump(exclude={"method", "loss"} if method else None) | method)
    train(asked, faces, tmp_path / "whole", ignore, networks=judged[1])

    def stop(point: Progress) -> None:
        if point.metrics is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(asked, faces, tmp_path / "cut", stop, networks=judged[1])
    assert checkpoint.load(tmp_path / "cut" / "checkpoint")["images"] == 32
    train(asked, faces, tmp_path / "cut", ignore, networks=judged[1], resume=tmp_path / "cut" / "checkpoint")
    assert weights(tmp_path / "cut" / "checkpoint") == weights(tmp_path / "whole" / "checkpoint")


def drawn_by(
    judged: Judged, faces: FaceSet, experiment: Experiment, monkeypatch: pytest.MonkeyPatch, **place: int
) -> tuple[list[np.ndarray], list[str]]:
    """What a worker is given in its first 40 steps, and the shards that it read."""
    trainer, read = Trainer(experiment, faces, judged[1], Place(**place)), []
    plain = ShardFiles.read
    monkeypatch.setattr(ShardFiles, "read", lambda files, shard: (read.append(shard.name), plain(files, shard))[1])
    batch = experiment.train.batch
    batches = [trainer.drawn.at(batch * step).read for step in range(40)]
    trainer.close()
    monkeypatch.undo()
    return batches, read


def test_workers_share_the_shards_and_each_is_read_once_a_pass(
    judged: Judged, faces: FaceSet, streamed: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, own), (second, other) = (
        drawn_by(judged, faces, streamed, monkeypatch, rank=rank, workers=2) for rank in (0, 1)
    )
    assert not set(own) & set(other)
    assert set(own) | set(other) == {shard.name for shard in faces.shards}
    assert len(set(own[: len(set(own))])) == len(set(own))  # none twice in the first pass
    assert all(a.shape == b.shape == (20, 64, 64, 3) for a, b in zip(first, second, strict=True))
    seen = [{face.tobytes() for batch in batches for face in batch} for batches in (first, second)]
    assert not seen[0] & seen[1]
    again, _ = drawn_by(judged, faces, streamed, monkeypatch, rank=0, workers=2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_every_tuple_is_of_one_person_and_another(judged: Judged, faces: FaceSet, streamed: Experiment) -> None:
    packed = judged[0]
    who = {packed.faces[k].tobytes(): str(packed.identity[k]) for k in range(len(packed.identity))}
    trainer = Trainer(streamed, faces, judged[1], Place())
    assert isinstance(trainer.batches, StreamedBatches)
    people = set()
    for first in range(0, 400, 8):
        names = np.array([who[face.tobytes()] for face in trainer.batches.draw(first, 8).read]).reshape(5, 8)
        assert (names[:3] == names[0]).all()
        assert (names[3:] != names[0]).all()
        people |= set(names[0])
    trainer.close()
    assert people == set(packed.identity[packed.part("train")])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss.triplet.embedding": "crossed"}, r"loss\.triplet\.embedding = crossed: needs .*; set it to compact"),
        (
            {"train.intensity": "measured"},
            r"train\.intensity = measured: needs .* has them in shards; set it to labelled",
        ),
        ({"train.workers": 64, "train.batch": 64}, r"train\.workers = 64: each worker reads shards of its own"),
    ],
)
def test_what_needs_all_people_at_once_is_one_sentence(
    judged: Judged, faces: FaceSet, streamed: Experiment, changes: dict[str, Any], words: str
) -> None:
    asked = replaced(streamed, changes)
    with pytest.raises(UserError, match=words):
        Trainer(asked, faces, judged[1], Place(workers=asked.train.workers))


def test_the_hardest_of_several_are_refused(judged: Judged, faces: FaceSet) -> None:
    loss = Loss.model_validate({"hardest": 4, "triplet": {"embedding": "vggface2"}})
    with pytest.raises(UserError, match=r"loss\.hardest = 4: needs all training people at once, .* set it to 1, or"):
        likeness(loss, faces, Judge())


def test_exchanged_units_are_refused(faces: FaceSet) -> None:
    with pytest.raises(UserError, match=r"loss\.paired\.exchanged = true: needs all training people at once"):
        SwapBatches(faces, Train(), torch.device("cpu"), exchanged=True)


def test_a_window_of_too_few_people_is_one_sentence(judged: Judged, streamed: Experiment, tmp_path: Path) -> None:
    one = in_shards(judged[0], tmp_path / "set", 0.01)  # a person each
    trainer = Trainer(replaced(streamed, {"train.workers": 34, "train.batch": 34}), one, judged[1], Place(workers=34))
    with pytest.raises(UserError, match=r"data\.shards\.window = 1: so many shards of .* and hold 1 people with two"):
        trainer.drawn.at(0)
    trainer.close()


def test_from_a_bucket_it_trains_the_same_networks(
    judged: Judged, faces: FaceSet, streamed: Experiment, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    upload(replace(faces, address=f"{bucket}/set"))
    asked = replaced(streamed, {"data.dir": f"{bucket}/set", "data.shards.cache_gb": 0})
    train(streamed, faces, tmp_path / "here", ignore, networks=judged[1])
    train(asked, opened(asked.data), tmp_path / "there", ignore, networks=judged[1])
    assert weights(tmp_path / "there" / "checkpoint") == weights(tmp_path / "here" / "checkpoint")
