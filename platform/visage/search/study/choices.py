"""What people chose between the faces of a study's trials, in the study's database, beside its trials."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError

from visage.judging.choices import Choice, Strengths, between, counted
from visage.registry.card import Eyes

if TYPE_CHECKING:
    from optuna import Study

PREFIX = "visage.choice "  # of the user attributes of a study that hold one each


def keep(study: "Study", choice: Choice) -> None:
    """Add a choice; first and second are numbers of trials. Each has a row of its own, so that none is lost where
    several people choose at once."""
    study.set_user_attr(f"{PREFIX}{choice.when} {uuid.uuid4().hex[:8]}", choice.model_dump(mode="json"))


def choices_of(attributes: Mapping[str, object]) -> list[Choice]:
    """The choices among a study's user attributes, in the order in which they were made; what is none is left out."""
    found = []
    for key in sorted(key for key in attributes if key.startswith(PREFIX)):
        with suppress(ValidationError):
            found.append(Choice.model_validate(attributes[key]))
    return [choice for choice in found if choice.first.isdecimal() and choice.second.isdecimal()]


def preferences(choices: Sequence[Choice]) -> dict[int, float]:
    """By number of the trials that were shown, the probability (0..1) that one is found better than a middling one."""
    names = sorted({name for choice in choices for name in (choice.first, choice.second)}, key=int)
    return {int(name): value for name, value in Strengths(choices, names).preferences().items()}


def of_trial(study: "Study", number: int) -> Eyes | None:
    """What people chose so far, for the card of a model with a trial's setting; None where nobody did."""
    choices = choices_of(study.user_attrs)
    if not choices:
        return None
    found = preferences(choices)
    return Eyes(
        choices=len(choices),
        people=len({choice.who for choice in choices}),
        trial=number,
        preference=found.get(number),
        said=tuple(told(choices, found, number)),
    )


def told(choices: Sequence[Choice], found: Mapping[int, float], leader: int | None) -> list[str]:
    """In sentences: whom people prefer, and what they say of the trial that leads, contradictions among it. found: the
    choices' `preferences`."""
    if not choices:
        return []
    first, *others = sorted(found, key=lambda number: (-found[number], number))
    made = counted(len(choices), len({choice.who for choice in choices}))
    said = [
        f"Eyes: {made} between {len(found)} trials prefer trial {first} ({found[first]:.2f}, where 0.50 is middling)."
    ]
    other = others[0] if first == leader else first
    share = between(choices, str(leader), str(other))
    if share:
        against = f", which contradicts that trial {leader} leads" if share.verdict == "second" else ""
        said.append(f"{share.told(f'trial {leader}', f'trial {other}').capitalize()}{against}.")
    elif first != leader:
        said.append(f"Nobody held it against trial {leader}, which leads.")
    return said
