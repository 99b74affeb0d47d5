import hashlib
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks
from visage.training import checkpoint
from visage.training.loop import crossed, train
from visage.training.progress import Progress
from visage.training.run import run
from visage.training.run_folder import RunFolder
from visage.training.trainer import Place, Trainer, rate_at

Judged = tuple[FaceSet, FaceNetworks]


def ignore(point: Progress) -> None:
    pass


def weights(folder: Path) -> dict[str, str]:
    """The sha256 of everything that a run goes on with."""
    state = checkpoint.load(folder)
    found = {}
    for name in ("generator", "discriminator", "ema"):
        for key, value in state[name].items():
            found[f"{name}.{key}"] = hashlib.sha256(value.numpy().tobytes()).hexdigest()
    for name, optimiser in state["optimisers"].items():
        for number, values in optimiser["state"].items():
            found[f"{name} {number}"] = hashlib.sha256(values["exp_avg"].numpy().tobytes()).hexdigest()
    return found


BASIS = {"method.basis": True, "loss.adversarial.start": 0.6, "optim.discriminator_rate": 1e-4}


HARD = {"loss.triplet.embedding": "crossed", "loss.hardest": 4}


@pytest.mark.parametrize("changes", [{}, BASIS, HARD], ids=["published", "basis, discriminator late", "hard tuples"])
def test_resume_equals_no_interruption(
    judged: Judged, experiment: Experiment, changes: dict[str, Any], tmp_path: Path
) -> None:
    faces, networks = judged
    experiment = replaced(experiment, changes)
    train(experiment, faces, tmp_path / "whole", ignore, networks=networks)

    def stop(point: Progress) -> None:
        if point.metrics is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(experiment, faces, tmp_path / "cut", stop, networks=networks)
    assert checkpoint.load(tmp_path / "cut" / "checkpoint")["images"] == 32
    train(experiment, faces, tmp_path / "cut", ignore, networks=networks, resume=tmp_path / "cut" / "checkpoint")
    assert weights(tmp_path / "cut" / "checkpoint") == weights(tmp_path / "whole" / "checkpoint")


def test_ctrl_c_in_the_middle_of_a_step_leaves_a_whole_one(
    judged: Judged, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, networks = judged
    train(replaced(experiment, {"train.images": 16}), faces, tmp_path / "whole", ignore, networks=networks)
    generator_step = Trainer._generator_step

    def interrupted(trainer: Trainer, *arguments: Any) -> Any:
        if trainer.images == 8:  # in the second step, when the discriminator has made its own
            os.kill(os.getpid(), signal.SIGINT)
        return generator_step(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_generator_step", interrupted)
    short = replaced(experiment, {"train.images": 16, "train.evaluate_every": 16})
    with pytest.raises(KeyboardInterrupt):
        train(short, faces, tmp_path / "cut", ignore, networks=networks)
    assert weights(tmp_path / "cut" / "checkpoint") == weights(tmp_path / "whole" / "checkpoint")


def test_the_same_seed_gives_the_same_networks_and_another_does_not(
    judged: Judged, experiment: Experiment, tmp_path: Path
) -> None:
    faces, networks = judged
    short = replaced(experiment, {"train.images": 16})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(replaced(short, {"train.seed": seed}), faces, tmp_path / name, ignore, networks=networks)
    a, b, c = (weights(tmp_path / name / "checkpoint") for name in "abc")
    assert a == b
    assert a != c


def test_a_run_reports_losses_metrics_faces_and_a_checkpoint(
    judged: Judged, experiment: Experiment, tmp_path: Path
) -> None:
    faces, networks = judged
    points: list[Progress] = []
    last = train(experiment, faces, tmp_path, points.append, networks=networks)
    evaluations = [point for point in points if point.metrics is not None]
    assert [point.images for point in evaluations] == [32, 64]
    assert last == points[-1]
    assert {"pixel", "adversarial", "triplet", "d_real", "d_fake", "d_pairing"} <= set(last.losses)
    assert last.metrics
    assert {"identity_similarity", "expression_probability", "score"} <= set(last.metrics)
    assert last.faces
    assert last.faces.is_file()
    assert last.checkpoint
    generator, trained, expressions = checkpoint.load_generator(last.checkpoint)
    assert trained == experiment
    assert expressions == faces.expressions
    assert generator.size == faces.size
    assert Progress.from_json(last.to_json()) == last


def test_gradients_are_asked_for_at_reports_only_and_change_nothing(
    judged: Judged, experiment: Experiment, tmp_path: Path
) -> None:
    faces, networks = judged
    points: list[Progress] = []
    for name, every in (("often", 8), ("once", 1000)):
        rarely = replaced(experiment, {"train.images": 32, "train.evaluate_every": every})
        train(rarely, faces, tmp_path / name, points.append, networks=networks)
    assert all("gradient/pixel" in point.losses for point in points)
    assert weights(tmp_path / "often" / "checkpoint") == weights(tmp_path / "once" / "checkpoint")


def test_training_learns(judged: Judged, experiment: Experiment) -> None:
    faces, networks = judged
    trainer = Trainer(replaced(experiment, {"train.images": 4000}), faces, networks, Place())
    pixel = [trainer.step()["pixel"].item() for _ in range(60)]
    assert sum(pixel[-10:]) < 0.8 * sum(pixel[:10])


def test_the_discriminator_begins_at_its_start(judged: Judged, experiment: Experiment) -> None:
    faces, networks = judged
    trainer = Trainer(replaced(experiment, BASIS), faces, networks, Place())  # 64 images in steps of 8: from 38.4 on
    before = [weight.clone() for weight in trainer.method.discriminator.parameters()]
    parts = [trainer.step() for _ in range(6)]
    assert [("d_real" in part, "adversarial" in part) for part in parts] == [(False, False)] * 5 + [(True, True)]
    after = list(trainer.method.discriminator.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert trainer.optimisers["discriminator"].param_groups[0]["lr"] == pytest.approx(1e-4 * (64 - 40) / 32)


def test_the_basis_reads_what_its_input_shows(judged: Judged, experiment: Experiment) -> None:
    faces, networks = judged
    trainer = Trainer(replaced(experiment, BASIS), faces, networks, Place())
    reader = trainer.method.generator.reader
    assert all(torch.equal(a, b) for a, b in zip(reader.parameters(), networks.reader.parameters(), strict=True))
    assert networks.report["reader_accuracy"] > 0.7


def test_a_checkpoint_of_other_faces_is_refused(judged: Judged, experiment: Experiment, tmp_path: Path) -> None:
    faces, networks = judged
    Trainer(experiment, faces, networks, Place()).save(tmp_path)
    others = replace(faces, sha256="0" * 64)
    with pytest.raises(UserError, match="other faces"):
        Trainer(experiment, others, networks, Place()).restore(tmp_path)
    for other in ({"method.width": 16}, {"method.discriminator_width": 16}):
        with pytest.raises(UserError, match="other networks"):
            Trainer(replaced(experiment, other), faces, networks, Place()).restore(tmp_path)


def test_a_checkpoint_of_an_older_visage_s_networks_is_one_sentence(
    judged: Judged, experiment: Experiment, tmp_path: Path
) -> None:
    Trainer(experiment, *judged, Place()).save(tmp_path)
    state = checkpoint.load(tmp_path)
    state["ema"] = {f"older.{name}": value for name, value in state["ema"].items()}
    checkpoint.save(tmp_path, state)
    with pytest.raises(UserError, match=r"other networks.*start afresh"):
        checkpoint.load_generator(tmp_path)
    with pytest.raises(UserError, match=r"other networks.*start afresh"):
        Trainer(experiment, *judged, Place()).restore(tmp_path)


def test_a_size_that_is_not_the_face_set_s_is_refused(judged: Judged, experiment: Experiment) -> None:
    with pytest.raises(UserError, match=r"data\.size = 128.*64 px"):
        Trainer(replaced(experiment, {"data.size": 128}), *judged, Place())


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.load(tmp_path)
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(tmp_path)
    torch.save({"format": 99}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="no checkpoint of format"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    import resource

    checkpoint.save(tmp_path, {"images": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # as a full disk: the file cannot grow
    try:
        with pytest.raises(UserError, match="cannot be written"):
            checkpoint.save(tmp_path, {"images": 2, "weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        checkpoint.save(tmp_path / "file", {})
    (tmp_path / "file").unlink()
    assert checkpoint.load(tmp_path)["images"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_folder_is_not_trained_in_twice_by_accident(judged: Judged, experiment: Experiment, tmp_path: Path) -> None:
    short = replaced(experiment, {"train.images": 8, "train.evaluate_every": 8})
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="no checkpoint to go on from"), folder.lock(resume=True):
        pass
    with folder.lock(resume=False):
        with pytest.raises(UserError, match="another process"), folder.lock(resume=False):
            pass
        run(short, *judged, folder, ignore)
    with pytest.raises(UserError, match="--resume"), folder.lock(resume=False):
        pass
    longer = replaced(short, {"train.images": 16})
    assert run(longer, *judged, folder, ignore, resume=True).images == 16
    assert run(longer, *judged, folder, ignore, resume=True).metrics  # at its end: judged again, not trained
    assert sorted({point.images for point in folder.points()}) == [8, 16]


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(Progress(8).to_json() + "\n" + Progress(16).to_json()[:20])
    with RunFolder(tmp_path).lock(resume=False):
        assert RunFolder(tmp_path).rewind(resume=False) is None
    assert (tmp_path / "history.jsonl").read_text() == ""


def test_a_journal_loses_what_lies_beyond_the_checkpoint_and_a_line_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "history.jsonl"
    journal.write_text(f"{Progress(8).to_json()}\n{Progress(16).to_json()}\n" + Progress(8).to_json()[:20])
    folder = RunFolder(tmp_path)
    checkpoint.save(folder.checkpoint, {"images": 8})
    assert folder.rewind(resume=True) == folder.checkpoint
    assert journal.read_text() == Progress(8).to_json() + "\n"


def test_an_evaluation_that_only_the_checkpoint_knows_is_told_when_the_run_goes_on(
    judged: Judged, experiment: Experiment, tmp_path: Path
) -> None:
    """As when the process was killed between the two."""

    def stop(point: Progress) -> None:
        if point.metrics is not None:
            raise KeyboardInterrupt

    folder = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, *judged, folder, stop)
    journal = tmp_path / "history.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    assert Progress.from_json(lines[-1]).metrics
    journal.write_text("".join(lines[:-1]))
    told: list[Progress] = []
    run(experiment, *judged, folder, told.append, resume=True)
    assert told[0] == Progress.from_json(lines[-1])
    assert [point.images for point in folder.points() if point.metrics] == [32, 64]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="choose another --out"),
        RunFolder(tmp_path / "file" / "run").lock(resume=False),
    ):
        pass
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder(tmp_path / "file").append(Progress(1))


def test_the_rate_of_an_image_is_the_same_with_another_batch_and_more_workers(
    judged: Judged, experiment: Experiment
) -> None:
    def rates(batch: int, workers: int) -> dict[int, float]:
        changes = {"train.batch": batch, "train.workers": workers, "train.images": 64, "optim.decay_from": 0.25}
        trainer = Trainer(replaced(experiment, changes), *judged, Place(workers=workers))
        seen = {}
        while trainer.images < 64:
            at = trainer.images
            trainer.step()
            seen[at] = trainer.optimisers["generator"].param_groups[0]["lr"]
        return seen

    small, large, shared = rates(8, 1), rates(16, 1), rates(16, 2)
    assert large == shared == {at: rate for at, rate in small.items() if at % 16 == 0}
    assert small[0] == experiment.optim.rate > small[32] > small[56] > 0


@pytest.mark.soak  # compiling takes minutes
@pytest.mark.timeout(3600)
def test_compiled_networks_train_alike(judged: Judged, experiment: Experiment) -> None:
    exact = replaced(experiment, {"train.precision": "float32"})
    plain, compiled = (Trainer(replaced(exact, {"train.compile": way}), *judged, Place()) for way in (False, True))
    for _ in range(2):
        expected = plain.step(gradients=True)
        for name, value in compiled.step(gradients=True).items():
            torch.testing.assert_close(value, expected[name], atol=1e-3, rtol=1e-2)


@given(st.integers(0, 100_000), st.integers(1, 512), st.integers(1, 10_000))
def test_every_multiple_is_crossed_once(start: int, batch: int, every: int) -> None:
    positions = range(start, start + 20 * batch, batch)
    crossings = sum(crossed(at, at + batch, every) for at in positions)
    multiples = (start + 20 * batch) // every - start // every
    assert crossings == min(multiples, crossings)
    assert (crossings > 0) == (multiples > 0)


def test_the_rate_is_constant_and_then_falls_to_zero(experiment: Experiment) -> None:
    base = replaced(experiment, {"train.images": 1000, "optim.decay_from": 0.4})
    assert rate_at(0, base) == rate_at(400, base) == base.optim.rate
    assert rate_at(700, base) == pytest.approx(base.optim.rate / 2)
    assert rate_at(1000, base) == 0
    assert rate_at(999, replaced(base, {"optim.decay_from": 1.0})) == base.optim.rate
