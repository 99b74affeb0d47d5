"""Photographs that are sent by the hundred and answered when there is time: a section of configs/serve.yaml."""

from pydantic import Field, field_validator

from visage.config.data import Section
from visage.infra.remote_store import address_fault, is_address


class Batches(Section):
    """Of the endpoint's /v1/batches, and of the one worker that edits what came there."""

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
