"""What the endpoint is: configs/serve.yaml."""

from ipaddress import AddressValueError, IPv4Address
from typing import Literal

from pydantic import Field, field_validator, model_validator

from visage.config.access import Access
from visage.config.batches import Batches
from visage.config.data import Section, stored
from visage.methods import usual_model
from visage.methods.requests import EXPRESSION


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
    def _guarded(self) -> "Serving":
        if not self.access.required and not IPv4Address(self.host).is_loopback:
            raise ValueError(
                f"host {self.host} can be reached from elsewhere while access.required is false; ask for keys, or set "
                "host to 127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _checked(self) -> "Serving":
        if self.challenger and not self.self_check:
            raise ValueError("challenger is compared by the self-check; set self_check to true or leave challenger out")
        return self
