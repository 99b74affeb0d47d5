"""Who may call the endpoint, and what it notes of calls: sections of configs/serve.yaml."""

import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from visage.config.data import Section

ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?")


class Rate(Section):
    """How often one key may ask, counted over all replicas together."""

    per_minute: float = Field(gt=0, description="requests in the long run")
    burst: int = Field(10, ge=1, description="so many of them may come at once")


class Access(Section):
    """Keys are asked for unless `required` is false, and then the endpoint listens on this machine alone."""

    required: bool = Field(True, description="false answers everybody on this machine")
    keys: Path | None = Field(
        None, description="file with a line NAME SHA256 for each key; without it, the variable VISAGE_KEYS holds them"
    )
    rate: Rate | None = Field(None, description="none: no limit")
    origins: tuple[str, ...] = Field((), description="other addresses whose pages may call, as https://example.org")

    @field_validator("origins")
    @classmethod
    def _addresses(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; write scheme and host alone, as https://example.org")
        return origins

    @model_validator(mode="after")
    def _meant(self) -> "Access":
        if self.keys and not self.required:
            raise ValueError(f"keys {self.keys} are given while required is false; remove one of the two")
        return self
