"""EFT: explicit facial expression transfer; two unpaired pictures in, the first person with the second's expression."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.errors import UserError
from visage.methods.base import NONE, Batches, Editor, Extras, Measured, Method, Training, Validation
from visage.methods.eft.config import Loss, Networks
from visage.methods.requests import DRIVER

if TYPE_CHECKING:
    import torch

    from visage.config import Experiment
    from visage.config.experiment import Judge
    from visage.faces.faceset import FaceSet
    from visage.judging.judges import Generator, Judges
    from visage.judging.networks.train import FaceNetworks
    from visage.judging.results import Evaluation
    from visage.judging.sheet import Sheet
    from visage.models.generator import Network
    from visage.registry.bundle import Bundle

UNITS = "units.safetensors"  # the map by which it is told action units; bundles of an older Visage have none
FLOORS = ("copy", "rest", "constant", "regression")


class Eft(Method):
    request = DRIVER
    Networks, Loss = Networks, Loss
    paper = "EFT (Shao, Zhu, Tang, Lu, Ma: IEEE TIP 2021, doi 10.1109/TIP.2021.3073857)"
    # au_agreement was measured another way before there were floors.
    measured = Measured("au_agreement", floors=FLOORS, wrong="driver", remeasured=True)

    def build(self, experiment: "Experiment", faces: "FaceSet", networks: "FaceNetworks") -> Training:
        from visage.faces.facs import AUS
        from visage.methods.eft.basis_losses import BasisEFT
        from visage.methods.eft.losses import EFT
        from visage.models.identity import load_embedding

        method, loss = experiment.method, experiment.loss
        assert isinstance(method, Networks)
        assert isinstance(loss, Loss)
        embedding = load_embedding(loss.triplet.embedding, networks.encoder)
        return (BasisEFT if method.basis else EFT)(method, loss, faces.size, len(AUS), embedding)

    def generator_of(self, architecture: Mapping[str, Any]) -> "Network":
        from visage.methods.eft.networks.disentangler import Disentangler
        from visage.models.generator import build_generator

        return build_generator(architecture, {"disentangler": Disentangler})

    def batches(self, faces: "FaceSet", experiment: "Experiment", device: "torch.device") -> Batches:
        from visage.methods.eft.batches import SwapBatches

        loss = experiment.loss
        assert isinstance(loss, Loss)
        return SwapBatches(faces, experiment.train, device, exchanged=loss.paired.exchanged)

    def validation(self, experiment: "Experiment", judges: "Judges") -> Validation:
        from visage.judging.pairs import pairings
        from visage.methods.eft.judging.judges import TransferJudges, quick_transfer
        from visage.methods.eft.judging.sheets import transfer_sheet

        if experiment.search.needs_frechet():
            raise UserError(
                "search: frechet is not measured for method eft; leave it out of objectives and constraints."
            )
        judging = TransferJudges(judges, experiment.judge)
        asked = pairings(judges.faces, judges.part, experiment.train.evaluate_pairs)
        return Validation(
            metrics=lambda generator: quick_transfer(judging, generator, asked),
            sheet=lambda generator: transfer_sheet(generator, judges.faces, judges.part),
        )

    def evaluate(
        self, generator: Any, faces: "FaceSet", networks: "FaceNetworks", judge: "Judge", *,
        device: "str | torch.device" = "cpu", extras: Extras = NONE, inception: Path | None = None,
        beside: "Generator | None" = None,
    ) -> "Evaluation":  # fmt: skip
        from visage.methods.eft.judging.evaluate import evaluate_transfer

        if inception:
            raise UserError("--inception: FID is not measured for transfers; leave it out.")
        unit_map: Any = extras.get(UNITS)
        return evaluate_transfer(generator, faces, networks, judge, device=device, beside=beside, unit_map=unit_map)

    def sheets(
        self, generator: "Generator", faces: "FaceSet", part: str, extras: Extras = NONE
    ) -> "Iterator[tuple[str, Sheet]]":
        from visage.methods.eft.judging.sheets import transfer_sheet, units_sheet

        yield "faces.png", transfer_sheet(generator, faces, part)
        unit_map: Any = extras.get(UNITS)
        network: Any = generator
        if unit_map is not None:
            yield "units.png", units_sheet(network, unit_map, faces, part)

    def editor(self, bundle: "Bundle", *, self_check: bool = False, device: str = "cpu") -> Editor:
        from visage.methods.eft.editor import TransferEditor

        return TransferEditor(bundle, self_check=self_check, device=device)

    def takes(self, files: Collection[str]) -> str:
        told = " Or takes a face and action units by their FACS numbers." if UNITS in files else ""
        return " and a second one, the driver; gives the first face with the driver's expression." + told

    def explain(self, evaluation: "Evaluation") -> str:
        from visage.judging.table import ROWS

        text = (
            f"{evaluation.pairs} pairs of a source and a driver, who is another person with another expression; in "
            "brackets 95 % intervals by bootstrap over the sources' people. au_agreement: how much "
            "nearer the driver's action units are than with the best answer that does not look at the driver (0) to "
            "the driver's own (1); score: its harmonic mean with identity_similarity. The rows beside the model need "
            f"no transfer: they say what a figure is worth. {ROWS['constant']}: no picture, but the median action "
            f"units of the training faces. {ROWS['regression']}: arithmetic with what each unit changes on average, "
            "told the labels."
        )
        if "drawn" in evaluation.rows:
            text += f" {ROWS['drawn']}: the source with the driver's action units, rendered: the most that is possible."
        if evaluation.alone:
            text += f" {ROWS['units']}: the model's own, told the driver's labels instead of shown the driver."
        return text

    def fit_extras(self, generator: Any, faces: "FaceSet") -> Extras:
        from visage.methods.eft.networks.unit_map import fit_unit_map

        return {UNITS: fit_unit_map(generator, faces)}

    def extras_of(self, generator: Any) -> Extras:
        from visage.methods.eft.networks.unit_map import unit_map_of

        return {UNITS: unit_map_of(generator)}


METHOD = Eft()
