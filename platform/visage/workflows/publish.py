"""From a trained generator to a registered version: judged on the test people, bundled, recorded, registered."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visage.config import Experiment

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.natural import Fitted
    from visage.judging.networks.train import FaceNetworks
    from visage.judging.results import Evaluation
    from visage.registry.card import Eyes
    from visage.registry.tracking import RunLog


@dataclass(frozen=True)
class Published:
    """A registered version, its run, its bundle's folder, what it reached on the test people, and the check of its
    mouths, which the bundle carries if it tells enough."""

    name: str
    version: int
    run_id: str
    bundle: Path
    evaluation: "Evaluation"
    natural: "Fitted"

    @property
    def model(self) -> str:
        return f"{self.name}/{self.version}"


def publish(
    checkpoint: Path, out: Path, experiment: Experiment, faces: "FaceSet", networks: "FaceNetworks", run: "RunLog",
    eyes: "Callable[[], Eyes | None]" = lambda: None,
) -> Published:  # fmt: skip
    """Judge the generator of a checkpoint on the test people, write its bundle to `out`, and register it.

    run: the MLflow run that the model came from; it receives the test figures, the pictures, the
    model card and the bundle. eyes: asked for what people have chosen when the bundle is written.
    Raises JudgesRefused when a judge is no better than chance.
    """
    from visage.methods import method_of
    from visage.registry.assemble import bundle_training, natural_check, sample_faces
    from visage.registry.card import FACES, MODEL_CARD
    from visage.registry.models import Registry
    from visage.training.checkpoint import load_generator
    from visage.training.trainer import here

    device = here(experiment.train).device
    generator, trained, _ = load_generator(checkpoint)
    generator = generator.to(device)
    method = method_of(trained.method.name)
    extras = method.fit_extras(generator, faces)
    evaluation = method.evaluate(generator, faces, networks, experiment.judge, device=device, extras=extras)
    sheets = {name: sheet.write(None) for name, sheet in method.sheets(generator, faces, "test", extras)}
    natural = natural_check(generator, method.request, faces, experiment.judge.images, experiment.judge.seed)
    told = natural.check if natural.tells else None
    bundle = bundle_training(
        out,
        generator=generator,
        experiment=trained,
        faces=faces,
        networks=networks,
        evaluation=evaluation,
        faces_png=sheets[FACES],
        run_id=run.run_id,
        natural=told,
        samples=sample_faces(generator, method.request, faces, told),
        extras=extras,
        eyes=eyes(),
    )
    figures = {f"test/{name}": estimate.value for name, estimate in evaluation.rows["model"].metrics.items()}
    run.log(figures, experiment.train.images)
    for name, sheet in sheets.items():
        run.picture(sheet, name)
    run.picture(bundle.dir / MODEL_CARD, MODEL_CARD)
    version = Registry(experiment.registry.tracking_uri).register(out, run.run_id)
    return Published(bundle.facts.name, version, run.run_id, out, evaluation, natural)
