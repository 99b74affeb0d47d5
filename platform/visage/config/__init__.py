"""What a run is: one schema for every file in configs/."""

from visage.config.experiment import Experiment
from visage.config.read import read_config, shareable, validated, written
from visage.config.serving import Access, Serving
from visage.config.space import Dimension, replaced

__all__ = [
    "Access",
    "Dimension",
    "Experiment",
    "Serving",
    "read_config",
    "replaced",
    "shareable",
    "validated",
    "written",
]
