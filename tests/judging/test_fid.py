"""FID with the real network of torch-fidelity; its weights, which cannot be had here, are random."""

import pickle
from pathlib import Path

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3 as fidelity

from tests.judging.conftest import Make
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.fid import inception_distances
from visage.judging.judges import Judges
from visage.judging.networks.train import FaceNetworks
from visage.judging.pairs import pairs
from visage.judging.table import shown


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's own weights as it is built, before a file would fill them."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(fidelity.torch, "load", lambda *_, **__: {})
        network = fidelity.FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="none")
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def judges(judged: tuple[FaceSet, FaceNetworks], make_faces: Make) -> Judges:
    """Of few faces, as the network takes long for one."""
    people = [f"p{number}" for number in range(16)]
    rows = [(person, shown, "0") for person in people for shown in judged[0].expressions]
    return Judges(judged[1], make_faces(rows), "validation")


def test_grey_faces_are_further_from_real_ones_than_real_ones_are(judges: Judges, weights: Path) -> None:
    some = pairs(judges.faces, "validation", seed=0)
    found = inception_distances(weights, judges, lambda inputs, _: inputs * 0, some)
    assert 0 <= found["real"].value < found["model"].value
    assert shown("fid", found["model"], 1, frozenset())[1] == ""


def test_a_file_that_holds_something_else_is_one_sentence(judges: Judges, tmp_path: Path) -> None:
    for name, content in (("nothing.pth", None), ("text.pth", b"weights"), ("code.pth", pickle.dumps(print))):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"--inception .*{name}: holds no Inception weights"):
            inception_distances(tmp_path / name, judges, None, pairs(judges.faces, "validation", seed=0))
