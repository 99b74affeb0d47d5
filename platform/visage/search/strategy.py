"""How a study searches: which values it tries next, and which trials it stops early."""

import numpy as np
from optuna import Study
from optuna.samplers import BaseSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.samplers.nsgaii import BLXAlphaCrossover
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from visage.config import Experiment
from visage.config.experiment import Search
from visage.search.study.rungs import rungs

STARTUP_TRIALS = 10  # at most so many random trials before TPE learns from them
POPULATION = 50  # of NSGA-II at most; a short study has time for some generations of fewer


def sampler(study: Study, search: Search) -> BaseSampler:
    """The sampler of a configuration.

    A resumed study draws on from another seed, or it would repeat its first suggestions; but a Sobol sequence has its
    place in the study, and goes on there.
    """
    begun = len(study.get_trials(deepcopy=False))
    seed = int(np.random.SeedSequence([search.seed, begun]).generate_state(1)[0])
    if search.sampler == "nsga2":
        # Without crossover, and by the default one, a child is now and then a copy of a parent: a trial repeated.
        return NSGAIISampler(
            seed=seed,
            population_size=min(POPULATION, max(4, search.trials // 4)),
            crossover=BLXAlphaCrossover(),
            crossover_prob=1.0,
        )
    if search.sampler == "random":
        return RandomSampler(seed=seed)
    if search.sampler == "qmc":
        independent = RandomSampler(seed=seed)  # for the first trial, and for choices
        return QMCSampler(
            seed=search.seed, scramble=True, independent_sampler=independent, warn_independent_sampling=False
        )
    return TPESampler(seed=seed, n_startup_trials=min(STARTUP_TRIALS, max(2, search.trials // 3)))


class InOrder(TrialScheduler):
    """Leaves it to Tune to start its trials in their order.

    A scheduler's choice is the first that waits, if only for its own process: Tune hands it the process of the next
    trial that ends and throws its own away, in which a core had worked for seconds. And it looks for that one through
    all trials there ever were.
    """

    def choose_trial_to_run(self, tune_controller: object) -> None:
        return None


class ToTheEnd(InOrder, FIFOScheduler):
    """Stops no trial."""


class AtRungs(InOrder, AsyncHyperBandScheduler):
    """Stops trials that are poor at a rung, by asynchronous successive halving."""


def scheduler(experiment: Experiment) -> TrialScheduler:
    """The scheduler of a configuration. With a grace period as long as the run none stops a trial."""
    search, images = experiment.search, experiment.train.images
    if not rungs(search.model_dump(), images):
        return ToTheEnd()
    return AtRungs(
        time_attr="images",
        metric="score",
        mode="max",
        grace_period=search.grace_images,
        max_t=images - 1,  # a rung at the very end would stop what is finished
        reduction_factor=search.reduction,
        stop_last_trials=False,
    )
