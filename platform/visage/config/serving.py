"""What the endpoint is: configs/serve.yaml."""

import re
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from visage.config.data import Section, stored
from visage.infra.remote_store import address_fault, is_address
from visage.methods import usual_model
from visage.methods.requests import EXPRESSION

ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?")


class Replicas(Section):
    """Autoscaling of the generator's replicas."""

    min: int = Field(1, ge=0, description="0: none while nobody asks; the next request waits for one to start")
    max: int = Field(2, ge=1)
    target_ongoing_requests: int = Field(8, ge=1, description="a replica is added above so many requests in progress")
    upscale_seconds: float = Field(10, ge=0, description="how long there must be more load before one is added")
    downscale_seconds: float = Field(300, ge=0, description="how long there must be less before one is removed")
    num_cpus: float = Field(1, ge=0)
    num_gpus: float = Field(0, ge=0)

    @model_validator(mode="after")
    def _order(self) -> "Replicas":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}; swap them")
        return self


class Batching(Section):
    size: int = Field(8, ge=1, description="faces of one forward pass at most")
    wait_ms: float = Field(2.0, ge=0, description="how long the first face waits for others")


class Limits(Section):
    megapixels: float = Field(50, gt=0, description="checked before a picture is decoded")
    megabytes: float = Field(20, gt=0)
    queue: int = Field(128, ge=1, description="requests that one replica takes on, in work and waiting")
    upload_seconds: float = Field(15, gt=0, description="how long a request's body may take to arrive")
    seconds: float = Field(30, gt=0, description="how long its answer may take after that")


class Challenger(Section):
    """A second model beside the one that answers."""

    model: str = Field(
        default_factory=lambda: usual_model(EXPRESSION, "challenger"),
        description="as model; none is loaded while there is no such alias",
    )
    share: float = Field(0, ge=0, le=1, description="of the requests, answered by the challenger")
    shadow: float = Field(0, ge=0, le=1, description="of those that the champion answers, run by both")


class Batches(Section):
    """Photographs that are sent by the hundred and answered when there is time, by one worker beside the replicas."""

    dir: str = Field(description="where batches and their answers are: a folder, or s3://BUCKET/FOLDER, for all nodes")
    bucket: str | None = Field(
        None, description="s3://BUCKET/FOLDER: each key's batches may name photographs in its folder there"
    )
    num_cpus: float = Field(1, gt=0, description="of the worker, beside those of the replicas")
    num_gpus: float = Field(0, ge=0)
    photographs: int = Field(2000, ge=1, description="of one batch")
    megabytes: float = Field(1000, gt=0, description="of a batch's ZIP, and of what it holds")
    of_a_key: int = Field(2, ge=1, description="batches of a key that are not done yet")
    total_megabytes: float = Field(20_000, gt=0, description="of all that is in dir")
    days: float = Field(7, gt=0, description="how long a batch and its answers are kept")
    upload_seconds: float = Field(600, gt=0, description="how long a batch may take to arrive")

    @field_validator("dir", "bucket")
    @classmethod
    def _usable(cls, place: str | None) -> str | None:
        if place is not None and is_address(place) and (fault := address_fault(place)):
            raise ValueError(fault)
        return place

    @field_validator("bucket")
    @classmethod
    def _remote(cls, bucket: str | None) -> str | None:
        if bucket is not None and not bucket.startswith("s3://"):
            raise ValueError("is no bucket; write s3://BUCKET/FOLDER")
        return bucket and bucket.rstrip("/")


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


class Serving(Section):
    model: str = Field(
        default_factory=lambda: usual_model(EXPRESSION), description="name@alias or name/version in the registry"
    )
    tracking_uri: str = Field(
        default_factory=stored("MLFLOW_TRACKING_URI", "sqlite:///runs/mlflow.db"),
        description="the registry: MLflow server or SQLite database; a cluster names its own in MLFLOW_TRACKING_URI",
    )
    host: str = Field("127.0.0.1", description="IPv4 address to listen on; 0.0.0.0 is every one of this machine")
    port: int = Field(8000, ge=1, le=65535)
    ingress: Literal["haproxy", "python"] = Field("haproxy", description="haproxy falls back where there is no binary")
    self_check: bool = Field(True, description="answers carry identity_similarity and expression_confidence")
    replicas: Replicas = Replicas()
    batching: Batching = Batching()
    limits: Limits = Limits()
    transfer: str | None = Field(None, description="the model of /v1/transfer, as model; none: that route has no model")
    challenger: Challenger | None = Field(None, description="none: one model is loaded and answers")
    batches: Batches | None = Field(None, description="none: /v1/batches takes none")
    access: Access = Access()
    log: Literal["serve", "stdout"] = Field("serve", description="where each request's line goes; see docs/endpoint.md")

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        try:
            IPv4Address(host)
        except AddressValueError:
            raise ValueError("is no IPv4 address; give one of this machine's, such as 127.0.0.1") from None
        return host

    @model_validator(mode="after")
    def _fits(self) -> "Serving":
        if not self.access.required and not IPv4Address(self.host).is_loopback:
            raise ValueError(
                f"host {self.host} can be reached from elsewhere while access.required is false; ask for keys, or set "
                "host to 127.0.0.1"
            )
        if self.challenger and not self.self_check:
            raise ValueError("challenger is compared by the self-check; set self_check to true or leave challenger out")
        return self
