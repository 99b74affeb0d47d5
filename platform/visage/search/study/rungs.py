"""Where ASHA looks at a trial and may stop it."""

import math
from collections.abc import Mapping
from typing import Any


def rungs(search: Mapping[str, Any], images: int) -> list[int]:
    """Training images at which a trial is held against the others, as Ray's AsyncHyperBandScheduler places them.

    search: the section of an experiment. images: of a whole trial. Empty where no trial is stopped early: without a
    scheduler, and with a grace period as long as the run.
    """
    first, reduction, last = search["grace_images"], search["reduction"], images - 1
    if search["scheduler"] == "none" or first > last:
        return []
    return [first * reduction**rung for rung in range(int(math.log(last / first) / math.log(reduction) + 1))]
