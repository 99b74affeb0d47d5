"""The networks of a face set: trained once, kept, and trained anew when anything they depend on changes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cuda import pretended
from tests.judging.conftest import Make
from visage.config.experiment import Judge
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.networks.augment import augment
from visage.judging.networks.linear import fit_unit_judge
from visage.judging.networks.train import NAMES, FaceNetworks, face_networks, stored_networks
from visage.models.judges import Trunk, UnitJudge
from visage.models.pixels import as_input

ROWS = [(f"p{k}", shown, "a") for k in range(12) for shown in ("neutral", "happy")]
SHORT = Judge(images=1_000)


@pytest.fixture
def faces(make_faces: Make) -> FaceSet:
    return make_faces(ROWS)


@pytest.fixture(scope="module")
def once_fitted(make_faces: Make) -> tuple[Path, str]:
    """A face set's folder with its networks in it, and their hash."""
    made = make_faces(ROWS)
    return made.dir, face_networks(made, SHORT).sha256


@pytest.fixture
def fitted(once_fitted: tuple[Path, str], tmp_path: Path) -> tuple[FaceSet, str]:
    """The same, in a folder of the test's own."""
    shutil.copytree(once_fitted[0], tmp_path / "set")
    return FaceSet.open(tmp_path / "set"), once_fitted[1]


def never(network: str, step: int, steps: int) -> None:
    raise AssertionError(f"{network} was trained again")


def test_networks_are_trained_once(judged: tuple[FaceSet, FaceNetworks]) -> None:
    made, networks = judged
    again = face_networks(made, Judge(images=4_000, bootstrap=100), never)
    assert again.sha256 == networks.sha256
    assert again.expressions == made.expressions
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    assert torch.equal(again.identity_judge(x), networks.identity_judge(x))
    assert torch.equal(again.expression_judge(x), networks.expression_judge(x))
    assert not any(p.requires_grad for p in again.encoder.parameters())


def test_networks_read_people_they_never_saw(judged: tuple[FaceSet, FaceNetworks]) -> None:
    report = judged[1].report
    assert report["expression_judge_accuracy"] >= 0.9
    assert report["check_accuracy"] >= 0.9
    assert report["identity_judge_verification"] >= 0.8
    assert report["identity_judge_genuine_similarity"] > report["identity_judge_impostor_similarity"] + 0.5
    assert report["identity_judge_follows_face"] >= 0.9


@pytest.mark.parametrize("size", [32, 96, 256])
def test_any_size_and_any_batch(judged: tuple[FaceSet, FaceNetworks], size: int) -> None:
    """A face's figures do not depend on the faces beside it."""
    networks = judged[1]
    x = torch.rand(3, 3, size, size) * 2 - 1
    for name in NAMES:
        network = getattr(networks, name)
        whole = network(x)
        assert torch.allclose(whole[1:2], network(x[1:2]), atol=1e-5), name
        assert whole.dtype == torch.float32
    assert torch.allclose(networks.identity_judge(x).norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(networks.expression_judge(x).sum(1), torch.ones(3), atol=1e-5)


def test_the_identity_judge_sees_the_inner_face_only(judged: tuple[FaceSet, FaceNetworks]) -> None:
    judge = judged[1].identity_judge
    face = torch.rand(1, 3, 64, 64) * 2 - 1
    frame = face.clone()
    frame[..., :10, :] = frame[..., :, :8] = frame[..., :, -8:] = -1
    assert torch.equal(judge(face), judge(frame))
    inner = face.clone()
    inner[..., 30:40, 25:40] *= -1
    assert not torch.allclose(judge(face), judge(inner), atol=1e-3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_networks_with_a_gpu_or_without(fitted: tuple[FaceSet, str]) -> None:
    faces, first = fitted
    shutil.rmtree(faces.dir / "networks")
    with pretended():
        assert face_networks(faces, SHORT).sha256 == first
    assert face_networks(faces, Judge(images=1_000, seed=9)).sha256 != first


@pytest.mark.slow
def test_damaged_networks_are_made_again(fitted: tuple[FaceSet, str]) -> None:
    faces, first = fitted
    stored = faces.dir / "networks" / "check.safetensors"
    stored.write_bytes(stored.read_bytes()[:-4] + b"\0\1\2\3")
    assert face_networks(faces, SHORT).sha256 == first
    card = json.loads((faces.dir / "networks" / "networks.json").read_text())
    assert card["faces"] == faces.sha256
    assert sorted(card["files"]) == sorted(f"{name}.safetensors" for name in NAMES)
    left = {path.name for path in faces.dir.iterdir() if "networks" in path.name}
    assert left == {"networks", ".networks.lock"}


@pytest.mark.slow
def test_processes_that_ask_together_train_once(faces: FaceSet) -> None:
    ask = (
        "import sys; from pathlib import Path; from visage.config.experiment import Judge;"
        "from visage.faces.faceset import FaceSet; from visage.judging.networks.train import face_networks;"
        "seen = set(); faces = FaceSet.open(Path(sys.argv[1]));"
        "n = face_networks(faces, Judge(images=1000), lambda network, step, steps: seen.add(network));"
        "print(n.sha256, len(seen))"
    )
    command = [sys.executable, "-c", ask, str(faces.dir)]
    path = str(Path(__file__).parents[2] / "platform")
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": path}) for _ in range(2)]
    answers = [process.communicate()[0].split() for process in asking]
    assert answers[0][0] == answers[1][0]
    assert sorted(answer[1] for answer in answers) == ["0", "1"]  # the one that trains by steps


def test_too_few_training_people(make_faces: Make) -> None:
    faces = make_faces(ROWS)
    train = faces.part("train")
    object.__setattr__(faces, "identity", np.where(faces.split == "train", faces.identity[train[0]], faces.identity))
    with pytest.raises(UserError, match="1 people"):
        face_networks(faces, SHORT)


def test_an_unwritable_folder_is_named(faces: FaceSet) -> None:
    object.__setattr__(faces, "dir", faces.dir / "gone")
    with pytest.raises(UserError, match="cannot be stored"):
        face_networks(faces, SHORT)


@pytest.mark.slow
def test_the_stored_ones_serve_whoever_asks(faces: FaceSet, fitted: tuple[FaceSet, str]) -> None:
    assert stored_networks(faces) is None
    faces, first = fitted
    found = stored_networks(faces)
    assert found is not None
    assert found.sha256 == first
    note = faces.dir / "networks" / "networks.json"
    for damaged in ("[]", "{", '{"images": 5, "seed": 1}', note.read_text().replace('"images": 1000', '"images": "x"')):
        note.write_text(damaged)
        assert stored_networks(faces) is None


def test_faces_on_a_gpu_are_changed_and_fitted_there() -> None:
    """What the fits are made of runs where its faces are, and gives the CPU's numbers."""
    faces = torch.rand(24, 3, 96, 96, generator=torch.Generator().manual_seed(0)).mul(255).byte()
    values = torch.rand(24, 2, generator=torch.Generator().manual_seed(1))
    fitted = []
    for device in ("cpu", "cuda"):
        with pretended():
            judge = UnitJudge(["a", "b"])
            judge.trunk = Trunk.pretrained()
            fit_unit_judge(judge, faces.to(device), values, 48, seed=3)
            assert judge.head.weight.device.type == device
            random = torch.Generator(device).manual_seed(2)
            changed = augment(as_input(faces.to(device)), random, erase=True)
            fitted.append((judge.head.weight.detach().cpu(), changed.cpu()))
    for one, other in zip(*fitted, strict=True):
        assert torch.equal(one, other)
