"""A Ray cluster's job server: what can be asked of it, with each fault as one sentence."""

import asyncio
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from visage.errors import UserError, one_line
from visage.infra.ray_session import TOKEN, TOKEN_PATH, token
from visage.training.resources import DRIVER_CPUS

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

SECONDS, AGENT_SECONDS = 10.0, 60.0
# Of what the job server says of a node's resources: "1.0/2.0 CPU (0.0 used of 1.0 reserved in placement groups)".
CPUS = re.compile(r"^([\d.]+)/([\d.]+) CPU(?: \(([\d.]+) used of ([\d.]+) reserved)?", re.MULTILINE)
# Of a follower whose connection breaks; a head that starts again is away for about so long.
RECONNECTIONS, PAUSE_SECONDS = 10, 3.0
# Of names that one can remember and read out, for jobs.
HOW = """
    amber brave brisk calm clear coral crisp early fair fond fresh gentle glad golden green happy honest jolly keen
    kind light lively lucky mellow merry mild neat nimble noble patient plain polite proud quick quiet ready round
    silver smart snug steady still sunny swift tidy true warm wise
""".split()  # noqa: SIM905
WHO = """
    badger beaver bison crane cricket curlew dolphin dove eagle falcon ferret finch fox gecko gull hare hawk heron
    ibex jay kestrel koala lark lemur linnet lynx marten mole moth newt otter owl panda petrel pony puffin quail
    raven robin seal shrew stork swan tern thrush toad vole wren
""".split()  # noqa: SIM905
TRIES = 100


class Cluster:
    """The job server at `address`, as http://HOST:8265.

    Raises UserError when there is none, when it refuses the token, and when it runs another Ray or Python.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
            raise UserError(f"--address {address}: is no job server's address; write it as http://HOST:8265.")
        held = token()
        self._headers = {"Authorization": f"Bearer {held}"} if held else {}
        self._check()
        self._client = self._connect()

    def submit(self, name: str, entrypoint: str, env: Mapping[str, Any]) -> str:
        """Start a job and return its id, which begins with `name`.

        Its driver, which prepares faces and trains judges, has a CPU of a node's: without one Ray puts it on the head.
        """
        from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_fixed

        # The agents of a head that has just started come up after its job server.
        patient = Retrying(
            retry=retry_if_exception_message(match="(?s).*try again later"),
            stop=stop_after_delay(AGENT_SECONDS),
            wait=wait_fixed(2),
            reraise=True,
        )
        job, cpus = name_for(name, {known.submission_id for known in self.jobs()}), 1
        variables = {**env.get("env_vars", {}), DRIVER_CPUS: str(cpus)}
        with self._faults("the job"):
            return patient(
                self._client.submit_job,
                entrypoint=entrypoint,
                entrypoint_num_cpus=cpus,
                runtime_env={**env, "env_vars": variables},
                submission_id=job,
                metadata={"visage": name},
            )

    def jobs(self) -> "list[JobDetails]":
        """The jobs that were submitted, the latest last."""
        with self._faults("the list of jobs"):
            found = self._client.list_jobs()
        return sorted((job for job in found if job.submission_id), key=lambda job: job.start_time or 0)

    def job(self, name: str) -> "JobDetails":
        """The job of an id. Raises UserError when there is none."""
        from ray.job_submission import JobStatus

        known = {job.submission_id: job for job in self.jobs()}
        if name not in known:
            running = [key for key, job in known.items() if key and job.status == JobStatus.RUNNING]
            raise UserError(
                f"{name}: no such job at {self.address}; running are {', '.join(running) or 'none'}, and "
                "`visage jobs` lists all."
            )
        return known[name]

    def at_work(self) -> tuple[int, int]:
        """How many jobs run, and how many wait for a CPU of their own."""
        from ray.job_submission import JobStatus

        states = [job.status for job in self.jobs()]
        return states.count(JobStatus.RUNNING), states.count(JobStatus.PENDING)

    def cpus(self) -> dict[str, tuple[float, float]]:
        """How many CPUs of each living node are free, and how many it has, by its address; those of nodes that share
        one together. Not older than some seconds; empty where Ray does not say."""
        import httpx

        with self._faults("the list of nodes"):
            try:
                asked = httpx.get(f"{self.address}/nodes?view=summary", headers=self._headers, timeout=SECONDS)
                found = asked.json()["data"]
                said = found["nodeLogicalResources"]
                nodes = [(node["ip"], said.get(node["raylet"]["nodeId"], "")) for node in found["summary"]]
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                return {}
        cpus: dict[str, tuple[float, float]] = {}
        for place, text in nodes:
            if line := CPUS.search(text):
                used, total, at_work, reserved = (float(each or 0) for each in line.groups())
                free, has = cpus.get(place, (0.0, 0.0))
                cpus[place] = (free + total - used - (reserved - at_work), has + total)
        return cpus

    def stop(self, name: str) -> bool:
        """Ask a job to stop; false when it had ended already. What it reached is kept: it is sent Ctrl-C."""
        self.job(name)
        with self._faults(name):
            return self._client.stop_job(name)

    def follow(self, name: str, say: Callable[[str], object]) -> "JobDetails":
        """Hand the job's output, from its beginning, to `say` as it comes, and return the job when it has ended."""
        self.job(name)
        seen = 0

        async def tail() -> None:
            nonlocal seen
            position = 0  # each connection begins with the first line again
            async for text in self._client.tail_job_logs(name):
                new = text[max(0, seen - position) :]
                position += len(text)
                seen = max(seen, position)
                if new:
                    say(new)

        for attempt in range(RECONNECTIONS):
            try:
                with self._faults(name):
                    asyncio.run(tail())
                    details = self._client.get_job_info(name)
                if details.status.is_terminal():
                    return details
            except UserError:
                if attempt + 1 == RECONNECTIONS:
                    raise
            time.sleep(PAUSE_SECONDS if attempt else 0.2)
        raise UserError(
            f"{name}: its output broke off {RECONNECTIONS} times; the job goes on: "
            f"`visage jobs logs {name} --address {self.address}`."
        )

    def _check(self) -> None:
        """What is at the address, asked with a time limit, which Ray's own client does not have."""
        import httpx

        try:
            answer = httpx.get(f"{self.address}/api/v0/cluster_metadata", headers=self._headers, timeout=SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise UserError(
                f"--address {self.address}: no Ray cluster answers ({one_line(error)}); start one there, or give the "
                "address of its job server, http://HOST:8265."
            ) from None
        if answer.status_code == 401:
            raise UserError(
                f"--address {self.address}: the cluster asks for a token; set {TOKEN}, or {TOKEN_PATH} to its file."
            )
        if answer.status_code == 403:
            raise UserError(f"--address {self.address}: the cluster refuses the token; set {TOKEN} to the cluster's.")
        try:
            found = answer.json()["data"]
            there = {"Ray": _minor(found["rayVersion"]), "Python": _minor(found["pythonVersion"])}
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"--address {self.address}: something answers that is no Ray cluster (HTTP {answer.status_code}); give "
                "the address of the job server, http://HOST:8265."
            ) from None
        for what, here in (("Ray", _minor(version("ray"))), ("Python", _minor(sys.version))):
            if here != there[what]:
                raise UserError(
                    f"--address {self.address}: the cluster runs {what} {there[what]} and Visage here {here}; use "
                    "Visage in the cluster's image, or build the image with this version."
                )

    def _connect(self) -> "JobSubmissionClient":
        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray").setLevel(logging.ERROR)
        for module in ("job.sdk", "dashboard_sdk"):
            logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.ERROR)
        # Ray lets these two win over the address that is given.
        before = {name: os.environ.pop(name, None) for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")}
        try:
            with self._faults("the job server"):
                return JobSubmissionClient(self.address, headers=self._headers)
        finally:
            os.environ.update({name: value for name, value in before.items() if value is not None})

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        """Turns what Ray's client raises into the one sentence."""
        import aiohttp
        import requests
        from ray.exceptions import RayError

        try:
            yield
        except (aiohttp.ClientError, requests.RequestException, RayError, OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"--address {self.address}: refuses {what} ({one_line(error, 400)}); mend that, or read the head's "
                "logs."
            ) from None


def _minor(full: str) -> str:
    return ".".join(full.split()[0].split(".")[:2])


def name_for(what: str, taken: Container[str | None]) -> str:
    """`what` with two words behind it that nobody has yet; with a number where all of TRIES were taken."""
    for _ in range(TRIES):
        name = f"{what}-{secrets.choice(HOW)}-{secrets.choice(WHO)}"
        if name not in taken:
            return name
    return f"{name}-{secrets.token_hex(3)}"
