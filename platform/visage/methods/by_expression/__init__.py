"""What the methods have in common whose generator takes an expression by its name: all but networks and losses."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.errors import UserError
from visage.methods.base import NONE, Batches, Editor, Extras, Measured, Method, Validation
from visage.methods.requests import EXPRESSION

if TYPE_CHECKING:
    import torch

    from visage.config import Experiment
    from visage.config.experiment import Judge
    from visage.faces.faceset import FaceSet
    from visage.judging.judges import Generator, Judges
    from visage.judging.networks.train import FaceNetworks
    from visage.judging.results import Evaluation
    from visage.judging.sheet import Sheet
    from visage.registry.bundle import Bundle


class MethodByExpression(Method):
    """A method whose generator takes faces N,3,S,S and conditions N,K, as `models.condition` makes them.

    It learns from `by_expression.batches.Batch`, and is judged by `judging.evaluate`.
    """

    request = EXPRESSION
    measured = Measured("expression_probability", floors=("copy", "mean_face", "mean_change"), wrong="mean_face")

    def batches(self, faces: "FaceSet", experiment: "Experiment", device: "torch.device") -> Batches:
        from visage.methods.by_expression.batches import NamedBatches

        return NamedBatches(faces, experiment.train, device)

    def validation(self, experiment: "Experiment", judges: "Judges") -> Validation:
        from visage.judging.evaluate import quick
        from visage.judging.frechet import Realism
        from visage.judging.pairs import pairs
        from visage.judging.sheet import faces_sheet

        faces, realism = judges.faces, None
        asked = pairs(faces, judges.part, experiment.train.evaluate_pairs)
        if experiment.search.needs_frechet():
            realism = Realism.of(*judges.training_features())
            if realism is None:
                raise UserError(
                    f"{faces.dir}: has too few real training faces of some expression for frechet; leave it out of "
                    "search.objectives and search.constraints, or prepare more faces."
                )
        return Validation(
            metrics=lambda generator: quick(judges, generator, asked, realism),
            sheet=lambda generator: faces_sheet(generator, faces, judges.part),
        )

    def evaluate(
        self, generator: Any, faces: "FaceSet", networks: "FaceNetworks", judge: "Judge", *,
        device: "str | torch.device" = "cpu", extras: Extras = NONE, inception: Path | None = None,
        beside: "Generator | None" = None,
    ) -> "Evaluation":  # fmt: skip
        from visage.judging.evaluate import evaluate

        if beside is not None:
            raise UserError("--beside: is for a model that takes a driver, which it stands beside; leave it out.")
        return evaluate(generator, faces, networks, bootstrap=judge.bootstrap, device=device, inception=inception)

    def sheets(
        self, generator: "Generator", faces: "FaceSet", part: str, extras: Extras = NONE
    ) -> "Iterator[tuple[str, Sheet]]":
        from visage.judging.sheet import faces_sheet, intensity_sheet

        yield "faces.png", faces_sheet(generator, faces, part)
        yield "intensity.png", intensity_sheet(generator, faces, part)

    def editor(self, bundle: "Bundle", *, self_check: bool = False, device: str = "cpu") -> Editor:
        from visage.methods.by_expression.editor import ExpressionEditor

        return ExpressionEditor(bundle, self_check=self_check, device=device)

    def takes(self, files: Collection[str]) -> str:
        return ", an expression and an intensity; gives the same face with that expression."

    def explain(self, evaluation: "Evaluation") -> str:
        from visage.judging.table import ROWS

        return (
            f"{evaluation.pairs} pairs of an input and another expression than its own; in brackets 95 % intervals by "
            "bootstrap over people. score: harmonic mean of identity_similarity and expression_probability. For "
            "frechet and l1 less is better. The rows beside the model need no model: they say what a figure is worth. "
            f"{ROWS['mean_change']}: the input with what training faces change by on average, arithmetic alone."
        )
