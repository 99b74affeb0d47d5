"""The sections `method` and `loss` of the plain method."""

from typing import Literal

from pydantic import Field

from visage.config import method
from visage.config.data import Section


class Networks(method.Networks):
    name: Literal["plain"] = "plain"
    width: int = Field(16, ge=8, le=128, multiple_of=8, description="channels of the U-Net's first level")


class Distance(Section):
    """|y - g|_1 of the generated face g and the true one y."""

    weight: method.Weight = 10.0


class Loss(method.Loss):
    distance: Distance = Distance()
