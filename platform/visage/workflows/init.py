"""`visage init`: the files of a new project, with what each line is for."""

import json
import re
from pathlib import Path

import yaml

from visage.config import Experiment
from visage.config.read import validated
from visage.errors import UserError
from visage.infra.files import write_whole
from visage.methods import usual_model
from visage.methods.requests import EXPRESSION
from visage.workflows.terminal import console

LOCAL = "sqlite:///runs/mlflow.db"
IGNORED = "# faces, checkpoints, models and databases\nruns/\n"

HEAD = """\
# {name}: which faces, which networks, what they pay, and what is searched. Every setting is explained in
# platform/visage/config/ and may be laid over on the command line: --set train.images=5000
data:
  dir: runs/data/faces # the face set; prepared at first use{shared}
  layout: {layout}{source}
  size: {size} # side of a face in pixels
"""

# Settings with which the basis converges in minutes: those of configs/demo.yaml, and of configs/london.yaml for
# photographs, whose people are few and whose smiles differ in strength.
DRAWN = """\
  people: 140 # drawn by Visage, to try everything without photographs
method:
  width: 24
  discriminator_width: 16
  basis: true # maps that all faces share, under the U-Net's own change; false: the published method
loss:
  adversarial: {{form: hinge, start: 0.3}}
  pairing: {{weight: 0.5}}
  pixel: {{weight: 50, change: 8}}
  triplet: {{weight: 0.1, margin: 0.7}}
  feature_matching: {{weight: 5}}
  perceptual: {{weight: 15}}
optim:
  rate: 0.002
  discriminator_rate: 0.0005
  betas: [0.5, 0.99]
  ema_images: 500
train:
  images: 2400 # of a trial
  batch: 4
  evaluate_every: 600
  gpus_per_worker: {gpus} # 0: on the CPU; 1: a GPU a trial; 0.25: four trials on one
search:
  grace_images: 600 # before a poor trial may be stopped
  final: {{train.images: 9600, train.evaluate_every: 2400}} # the best setting, trained longer
"""

PHOTOGRAPHS = """\
method:
  width: 16
  discriminator_width: 16
  basis: true # maps that all faces share, under the U-Net's own change; false: the published method
  exaggeration: 1.1 # more of the change than was learnt, which is the mean of all people's
loss:
  adversarial: {{form: hinge, weight: 2, start: 0.3}}
  pairing: {{weight: 0.5}}
  pixel: {{weight: 25, change: 8}}
  triplet: {{weight: 0.1, margin: 1}}
  feature_matching: {{weight: 20}}
  perceptual: {{weight: 20}}
  smoothness: {{weight: 0.3}}
optim:
  rate: 0.002
  discriminator_rate: 0.0005
  betas: [0.5, 0.99]
  decay_from: 0.7
  ema_images: 1000
train:
  images: 1800 # of a trial; more people bear more
  batch: 4
  evaluate_every: 600
  augment: {{light: 0.2, colour: 0.1}}
  intensity: measured # one's posed smile is another's half smile
  gpus_per_worker: {gpus} # 0: on the CPU; 1: a GPU a trial; 0.25: four trials on one
search:
  grace_images: 600 # before a poor trial may be stopped
"""

SEARCH = """\
  name: {name}
  trials: 12
  stop: {{hours: 8}} # or gpu_hours, goal, no_improvement: what is reached first ends the study
  # notify: https://hooks.example.com/services/$HOOK # hears of its end
  space: # dotted path of a setting: how it is drawn
    loss.pixel.weight: {{log_uniform: [10, 100]}}
    loss.pairing.weight: {{uniform: [0, 1]}}
    loss.triplet.weight: {{log_uniform: [0.03, 2]}}
    loss.triplet.margin: {{uniform: [0.2, 2.0]}}
"""

SERVING = """\
# The endpoint; what is left out has its default (docs/endpoint.md).
model: {model} # followed: a new champion takes its place without a restart
{store}
port: 8000
replicas:
  min: 1
  max: 2
  num_cpus: 1
  num_gpus: {gpus} # a share such as 0.5 puts two replicas on one GPU
access:
  required: false # no keys, and so for this machine alone; `visage key` makes some
"""


def begin(folder: Path, layout: str, source: Path | None, size: int, gpus: int, cluster: str) -> None:
    """Write experiment.yaml, serve.yaml and .gitignore into a new folder, and print the commands that come next.

    layout: how the source names its faces; of `synthetic` there is none. cluster: the job server of the one that is to
    search; empty for this machine. Raises UserError where the folder holds something, for a source that is not there
    (or on a cluster might be anywhere), and for a setting that cannot be.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder}: is there and no empty folder; give another name.")
    if cluster and not re.fullmatch(r"https?://[^\s/]+/?", cluster):
        raise UserError(f"{cluster}: is no job server's address; write it as http://HOST:8265.")
    if cluster and source and not source.is_absolute():
        raise UserError(f"{source}: may be anywhere on the cluster; give the whole path that its nodes see.")
    if source and not cluster:
        if not source.is_dir():
            raise UserError(f"{source}: is no folder; give that of the photographs.")
        source = source.resolve()
    where = f"\n  source: {json.dumps(str(source))}" if source else ""
    parts = HEAD + (DRAWN if layout == "synthetic" else PHOTOGRAPHS) + SEARCH
    name = re.sub(r"[^\w-]+", "-", folder.resolve().name)
    shared = ", in the cluster's VISAGE_HOME" if cluster else ""
    experiment = parts.format(name=name, layout=layout, source=where, size=size, gpus=gpus, shared=shared)
    validated(Experiment, yaml.safe_load(experiment), str(folder / "experiment.yaml"))
    folder.mkdir(parents=True, exist_ok=True)
    store = "# tracking_uri: the cluster's, of MLFLOW_TRACKING_URI" if cluster else f"tracking_uri: {LOCAL}"
    for file, content in (
        ("experiment.yaml", experiment),
        ("serve.yaml", SERVING.format(model=usual_model(EXPRESSION), gpus=gpus, store=store)),
        (".gitignore", IGNORED),
    ):
        write_whole(folder / file, content.encode())
    console.print(f"{folder}: written; the next commands, from there:")
    at, tune = (f" --address {cluster}", "visage submit tune") if cluster else ("", "visage tune")
    following = {
        f"visage doctor experiment.yaml{at}": "what would fail, and how to mend it",
        f"{tune} experiment.yaml{at}": "prepare the faces, search, register the best model",
        f"visage study {name} --web": "follow it, in another terminal",
        "visage serve serve.yaml": "the champion at http://127.0.0.1:8000",
    }
    width = max(map(len, following))
    for command, why in following.items():
        console.print(f"  {command:<{width}}  {why}")
