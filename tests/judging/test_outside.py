"""Judges from outside: read from their package, held against the fitted ones, refused where they cannot judge."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.evaluations import sample
from tests.judging.conftest import Make
from visage.config.experiment import PACKAGE, Judge
from visage.errors import JudgesRefused, UserError
from visage.faces.faceset import FaceSet
from visage.judging.evaluate import evaluate
from visage.judging.networks import outside
from visage.judging.networks.outside import as_asked, choice_notes, choose, outside_judges, weights
from visage.judging.networks.reach import apply
from visage.judging.networks.train import FaceNetworks, face_networks, resized, stored_networks
from visage.judging.table import judged_by
from visage.models.judges import ExpressionJudge
from visage.models.outside import MEAN, READ, ExpressionNet, FaceResNet, cut

REAL = Path(__file__).parents[2] / PACKAGE
NAME = "@vladmandic/face-api 1.7.15"
ROWS = [(f"p{k}", shown, s) for k in range(14) for shown in ("neutral", "happy") for s in "ab"]


def written(network: nn.Module, random: torch.Generator) -> tuple[bytes, bytes]:
    """Manifest and data of a network of random weights in TensorFlow.js's names, order and axes."""
    entries, data = [], b""
    for name, value in network.state_dict().items():
        parts = name.split(".")
        if parts[-1] in ("weights", "biases"):
            parts.insert(-1, "scale")
        text = "/".join(parts).replace("depthwise/weight", "depthwise_filter").replace(
            "pointwise/weight", "pointwise_filter").replace("pointwise/bias", "bias")  # fmt: skip
        if parts[0] == "fc" and len(parts) == 2:
            text = ("fc/weights" if "fc.bias" in network.state_dict() else "fc") if parts[1] == "weight" else "fc/bias"
        else:
            text = text.removesuffix("/weight") + "/filters" if text.endswith("/weight") else text
        value = torch.randn(value.shape, generator=random) * (2 / max(1, value[0].numel())) ** 0.5
        turned = (
            value.permute(2, 3, 0, 1)
            if "depthwise" in text
            else value.permute(2, 3, 1, 0)
            if value.ndim == 4
            else value.T
            if value.ndim == 2
            else value
        )
        entries.append({"name": text, "shape": list(turned.shape), "dtype": "float32"})
        data += turned.contiguous().numpy().astype("<f4").tobytes()
    return json.dumps([{"weights": entries, "paths": []}]).encode(), data


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/model/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """The files of a package whose networks have random weights."""
    random, found = torch.Generator().manual_seed(0), {}
    for name, network in ((outside.IDENTITY, FaceResNet()), (outside.EXPRESSION, ExpressionNet())):
        found[f"{name}-weights_manifest.json"], found[f"{name}.bin"] = written(network, random)
    return found


@pytest.fixture(scope="module")
def package(made: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Such a package, which is taken for the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outside, "FILES", {name: hashlib.sha256(data).hexdigest() for name, data in made.items()})
        yield packed(tmp_path_factory.mktemp("package") / "judges.tgz", made)


@pytest.fixture(scope="module")
def both(make_faces: Make, package: Path) -> tuple[FaceSet, FaceNetworks, FaceNetworks]:
    """A face set of noise, the networks it gets without a package, and then those with the judges from outside."""
    faces = make_faces(ROWS)
    fitted = face_networks(faces, asked("auto", package.with_name("absent.tgz")))
    return faces, fitted, face_networks(faces, asked("outside", package))


Both = tuple[FaceSet, FaceNetworks, FaceNetworks]
FILES = dict(outside.FILES)
PICTURES = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def asked(networks: str, package: Path) -> Judge:
    return Judge.model_validate({"images": 1_000, "networks": networks, "package": package})


def test_weights_are_read_as_they_are_and_from_bytes() -> None:
    entries = [
        {"name": "a", "shape": [2, 2], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},
        {"name": "b", "shape": [1], "dtype": "float32"},
    ]
    manifest = json.dumps([{"weights": entries}]).encode()
    data = bytes([0, 1, 2, 255]) + np.array([0.25], "<f4").tobytes()
    found = weights(manifest, data)
    assert found["a"].tolist() == [[-1, -0.5], [0, 126.5]]
    assert found["b"].tolist() == [0.25]
    for damaged in (data[:-1], data + b"\0"):
        with pytest.raises(ValueError, match=r"buffer|manifest"):
            weights(manifest, damaged)


@pytest.mark.slow
def test_they_judge_where_they_are_asked_for_and_stay_with_the_set(both: Both, tmp_path: Path) -> None:
    faces, fitted, networks = both
    assert fitted.judged_by == {"identity": "fitted", "expression": "fitted"}
    assert networks.judged_by == {"identity": NAME, "expression": NAME}
    assert networks.sha256 != fitted.sha256
    assert not choice_notes(fitted.judged_by, fitted.report)
    notes = choice_notes(networks.judged_by, networks.report)
    assert [note.partition(" (")[0] for note in notes] == [
        f"{kind} is judged by: {NAME}" for kind in ("identity", "expression")
    ]
    again = stored_networks(faces)
    assert again is not None
    assert again.sha256 == networks.sha256
    absent = tmp_path / "absent.tgz"  # the face set has them
    for kind in ("auto", "outside"):
        assert face_networks(faces, asked(kind, absent)).sha256 == networks.sha256


@pytest.mark.slow
def test_strangers_are_unlike_and_frechet_stays_what_it_is(both: Both) -> None:
    faces, fitted, networks = both
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    judge = networks.identity_judge
    seen = judge.features(x)
    assert torch.allclose(judge.embed(seen), judge(x))
    assert torch.allclose(judge(x).norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(judge.pooled(seen), fitted.identity_judge.pooled(fitted.identity_judge.features(x)))
    train = apply(judge, resized(faces, faces.part("train"))).numpy()
    assert abs((train @ train.T)[~np.eye(len(train), dtype=bool)].mean()) < 0.1
    framed = x.clone()
    framed[..., :10, :] = framed[..., :, :8] = framed[..., :, -8:] = -1
    assert torch.equal(judge(framed), judge(x))
    probability = networks.expression_judge(x)
    assert torch.allclose(probability.sum(1), torch.ones(3), atol=1e-5)
    assert torch.allclose(networks.expression_judge(x[1:2]), probability[1:2], atol=1e-5)


@pytest.mark.slow
def test_where_they_read_no_better_than_chance_they_are_refused(both: Both) -> None:
    faces, _, networks = both
    with pytest.raises(JudgesRefused, match=r"no better than .* set judge\.networks=fitted"):
        evaluate(None, faces, networks, bootstrap=100)


class ByColour(nn.Module):
    """Knows the people and expressions of `coloured`: by red who it is, by green what is shown."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, faces: Tensor) -> Tensor:
        level = ((faces[:, self.channel].mean((1, 2)) + 1) * 127.5 / 20).round().long()
        return F.one_hot(level, 13).float()


@pytest.mark.slow
def test_auto_takes_what_reads_real_faces_better(package: Path) -> None:
    """Of networks with random weights and others that know it all, whichever of them is from outside."""
    people, expression = np.repeat([f"p{k}" for k in range(10)], 2), np.tile([0, 1], 10)
    levels = np.stack([np.repeat(np.arange(10), 2) * 20, expression * 20, np.zeros(20)], 1)
    coloured = torch.from_numpy(levels.astype(np.uint8))[:, :, None, None].expand(-1, -1, 96, 96).contiguous()
    real = coloured, people, expression
    know = {"identity_judge": ByColour(0), "expression_judge": ByColour(1)}
    guess = outside_judges(asked("auto", package), READ[:2], coloured, needed=False)
    networks: dict[str, nn.Module] = dict(know)
    figures = choose(networks, guess, asked("auto", package), *real)
    assert networks == know
    for name in know:
        assert figures[f"{name}_fitted"] == 1
        assert figures[f"{name}_outside"] < 1
    choose(networks, guess, asked("outside", package), *real)
    assert networks == guess
    choose(networks, know, asked("auto", package), *real)
    assert networks == know


@pytest.mark.slow
def test_expressions_that_they_do_not_know_are_judged_by_the_fitted_judge(package: Path) -> None:
    shown = ("neutral", "contempt")
    found = outside_judges(asked("outside", package), shown, PICTURES, needed=True)
    assert found.keys() == {"identity_judge"}
    assert as_asked("outside", found["identity_judge"], ExpressionJudge(shown))
    assert not as_asked("outside", found["identity_judge"], ExpressionJudge(READ[:2]))
    assert not as_asked("fitted", found["identity_judge"], ExpressionJudge(shown))
    measured = {"identity_judge_fitted": 0.5, "identity_judge_outside": 1.0}
    said = choice_notes({"identity": NAME, "expression": "fitted"}, measured)
    assert said[1] == "expression is judged by: fitted (the network from outside does not know all expressions here)"


@pytest.mark.slow
def test_without_the_package_the_fitted_ones_judge_unless_others_are_asked_for(both: Both, tmp_path: Path) -> None:
    faces, fitted, _ = both  # fitted without the package
    absent = tmp_path / "absent.tgz"
    assert "identity_judge_outside" not in fitted.report
    copied = tmp_path / "set"
    shutil.copytree(faces.dir, copied)
    faces = FaceSet.open(copied)
    stored = faces.dir / "networks" / "identity_judge.safetensors"
    stored.write_bytes(stored.read_bytes()[:-4])
    said = r"absent.tgz: is not there; get it with `make judges`, or set judge.networks=fitted\.$"
    for kind in ("outside", "auto"):  # not quietly by others than before
        with pytest.raises(UserError, match=said):
            face_networks(faces, asked(kind, absent))


def test_a_damaged_or_foreign_package_is_one_sentence(made: dict[str, bytes], package: Path, tmp_path: Path) -> None:
    whole, other, package = package.read_bytes(), dict(made), tmp_path / "judges.tgz"
    name = f"{outside.EXPRESSION}.bin"
    other[name] = other[name][:-1] + b"\1"
    cases = {
        "holds another face_expression_model.bin": packed(tmp_path / "other.tgz", other).read_bytes(),
        "is no whole file": whole[: len(whole) // 2],
        "is no whole file of": b"no archive at all",
        "face_recognition_model-weights_manifest.json' not found": packed(tmp_path / "x.tgz", {"a": b""}).read_bytes(),
        "is no whole file of @vladmandic": None,
    }
    for said, content in cases.items():
        if content is None:
            package.unlink()
            package.mkdir()
        else:
            package.write_bytes(content)
        for networks in ("auto", "outside"):
            with pytest.raises(UserError, match=r"judge\.package") as refused:
                outside_judges(asked(networks, package), READ[:2], PICTURES, needed=networks == "outside")
            assert said in str(refused.value)
            assert "set judge.networks=fitted" in str(refused.value)
            assert str(refused.value).count(". ") == 0
        assert not outside_judges(asked("fitted", package), READ[:2], PICTURES, needed=False)


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    if not REAL.is_file():
        pytest.skip("the package is not here; `make judges` gets it")
    monkeypatch.setattr(outside, "FILES", FILES)
    return REAL


def test_they_say_what_the_package_s_own_code_says(real: Path) -> None:
    """Reference: @vladmandic/face-api 1.7.15 itself, on TensorFlow.js's CPU backend, for the same made picture."""

    def picture(side: int) -> Tensor:
        i = np.arange(side * side * 3)
        pixels = np.floor(127.5 + 120 * np.sin(i * 0.001) * np.cos(i * 0.37)).reshape(side, side, 3)
        return (torch.from_numpy(pixels).float() - torch.tensor(MEAN)).permute(2, 0, 1)[None] / 255

    found = outside_judges(asked("outside", real), READ, PICTURES, needed=True)
    vector = found["identity_judge"].network(picture(150))[0, :6]  # type: ignore[operator]
    theirs = [-0.0757320, 0.0896902, 0.0860265, 0.0099505, -0.1350974, -0.0456174]
    assert vector.tolist() == pytest.approx(theirs, abs=1e-5)
    probability = found["expression_judge"].network(picture(112)).softmax(1)[0]  # type: ignore[operator]
    theirs = [1.8232444e-2, 6.5366e-4, 0.98068744, 5.9466e-6, 1.9214e-4, 6.5194e-9, 2.28350e-4]
    assert probability.tolist() == pytest.approx(theirs, abs=1e-5)


def test_a_table_says_who_judged() -> None:
    said = judged_by(sample(("neutral", "happy"), judged_by={"identity": NAME, "expression": "fitted"}))
    assert said == f"Judges: of identity from {NAME}, of expression fitted."
    assert judged_by(sample(("neutral", "happy"))) == "Judges: of identity fitted, of expression fitted."


def test_gradients_reach_the_face() -> None:
    """They may guide nothing here, but what is cut out of a face is a function of all of its middle."""
    face = torch.rand(1, 3, 64, 64, requires_grad=True)
    cut(face, 150).square().sum().backward()
    assert face.grad is not None
    assert face.grad[..., 20:50, 20:44].abs().min() > 0
    assert not face.grad[..., :8, :].any()
