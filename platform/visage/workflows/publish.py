"""From a trained generator to a registered version: judged on the test people, bundled, recorded, registered."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visage.config import Experiment

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet
    from visage.judging.results import Evaluation
    from visage.judging.train import FaceNetworks
    from visage.registry.tracking import RunLog


@dataclass(frozen=True)
class Published:
    """A registered version, its run, its bundle's folder, and what it reached on the test people."""

    name: str
    version: int
    run_id: str
    bundle: Path
    evaluation: "Evaluation"

    @property
    def model(self) -> str:
        return f"{self.name}/{self.version}"


def publish(
    checkpoint: Path, out: Path, experiment: Experiment, faces: "FaceSet", networks: "FaceNetworks", run: "RunLog"
) -> Published:
    """Judge the generator of a checkpoint on the test people, write its bundle to `out`, and register it.

    run: the MLflow run that the model came from; it receives the test figures, the pictures, the
    model card, the confusion and the bundle. Raises JudgesRefused when a judge is no better than chance.
    """
    from visage.faces.picture import write_png
    from visage.judging.by_method import PICTURES, judged
    from visage.judging.natural import natural_check
    from visage.judging.report import intensity_picture, units_picture
    from visage.models.disentangler import Disentangler
    from visage.registry.assemble import bundle_training
    from visage.registry.card import MODEL_CARD
    from visage.registry.models import Registry
    from visage.training.checkpoint import load_generator
    from visage.training.trainer import here
    from visage.training.unit_map import fit_unit_map

    device = here(experiment.train).device
    generator, trained, _ = load_generator(checkpoint)
    generator = generator.to(device)
    method = trained.method.name
    unit_map = fit_unit_map(generator, faces) if isinstance(generator, Disentangler) else None
    evaluation = judged(method, generator, faces, networks, experiment.judge, device=device, unit_map=unit_map)
    picture = write_png(None, PICTURES[method](generator, faces, "test"))
    bundle = bundle_training(
        out,
        generator=generator,
        experiment=trained,
        faces=faces,
        networks=networks,
        evaluation=evaluation,
        faces_png=picture,
        run_id=run.run_id,
        natural=natural_check(generator, faces, experiment.judge.images, experiment.judge.seed),
        unit_map=unit_map,
    )
    figures = {f"test/{name}": estimate.value for name, estimate in evaluation.rows["model"].metrics.items()}
    run.log(figures, experiment.train.images)
    run.picture(picture, "faces.png")
    if method == "ucgan":
        run.picture(write_png(None, intensity_picture(generator, faces, "test")), "intensity.png")
    if isinstance(generator, Disentangler) and unit_map is not None:
        run.picture(write_png(None, units_picture(generator, unit_map, faces, "test")), "units.png")
    run.picture(bundle.dir / MODEL_CARD, MODEL_CARD)
    run.picture(confusion_csv(evaluation), "confusion.csv")
    version = Registry(experiment.registry.tracking_uri).register(out, run.run_id)
    return Published(bundle.facts.name, version, run.run_id, out, evaluation)


def confusion_csv(evaluation: "Evaluation") -> bytes:
    """Pairs by row, target expression and the expression that the judge read; one line each, for other tools."""
    lines = ["row,target,read,pairs"]
    for name, row in evaluation.rows.items():
        for target, counts in zip(evaluation.expressions, row.confusion, strict=True):
            lines += [f"{name},{target},{read},{n}" for read, n in zip(evaluation.expressions, counts, strict=True)]
    return ("\n".join(lines) + "\n").encode()
