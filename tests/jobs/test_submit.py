"""Jobs as a user meets them: the command line against a real Ray's job server."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from ray_head import TOKEN, Head
from servers import running
from test_cli import ROOT, assert_one_sentence, visage

from visage.workflows.doctor.schema import Examination

pytestmark = pytest.mark.slow

SMALL = ["--layout", "synthetic", "--size", "32", "--people", "40", "--pictures", "1"]
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.ray
def test_a_job_is_submitted_followed_listed_and_submitted_again(head: Head, tmp_path: Path) -> None:
    # VISAGE_HOME stands for what a cluster's nodes share: a path under runs/ lies there.
    arguments = ("prepare", *SMALL, "--out", "runs/faces", "--env", "VISAGE_HOME", "--wait")
    done = head.visage("submit", *arguments, folder=tmp_path, VISAGE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "320 faces of 40 people" in done.stdout
    assert "succeeded" in done.stdout.splitlines()[-1]
    assert (tmp_path / "runs" / "faces" / "set.json").is_file()
    job = re.search(r"^(\S+): submitted; 0 run, and 0 wait", done.stdout, re.MULTILINE)[1]  # type: ignore[index]
    assert f"{head.address}/#/jobs/{job}" in done.stdout

    assert job in head.visage("jobs", folder=tmp_path).stdout
    # Ray's own variables must not lead elsewhere.
    shown = head.visage("jobs", "status", job, folder=tmp_path, RAY_ADDRESS="127.0.0.1:9")
    assert f"{job}: succeeded" in shown.stdout, shown.stderr
    assert str(tmp_path) not in shown.stdout  # a value that was handed on stands in no command
    assert "320 faces of 40 people" in head.visage("jobs", "logs", job, folder=tmp_path).stdout
    assert "had ended already" in head.visage("jobs", "stop", job, folder=tmp_path).stdout

    made = (tmp_path / "runs" / "faces" / "set.json").stat().st_mtime_ns
    second = head.visage("submit", *arguments, folder=tmp_path, VISAGE_HOME=str(tmp_path))
    assert second.returncode == 0, second.stdout + second.stderr
    assert (tmp_path / "runs" / "faces" / "set.json").stat().st_mtime_ns == made


@pytest.mark.ray
def test_a_failed_job_says_why_and_fails_here_too(head: Head, tmp_path: Path) -> None:
    arguments = ("prepare", "--layout", "folder", "--source", f"{tmp_path}/none", "--out", "faces", "--wait")
    done = head.visage("submit", *arguments, folder=tmp_path)
    assert f"{tmp_path}/none: there is no such folder; give" in done.stdout
    assert_one_sentence(done, "visage-prepare", "failed", "output says why")
    assert_one_sentence(head.visage("jobs", "logs", "nobody", folder=tmp_path), "nobody", "no such job")


@pytest.mark.ray
def test_a_cluster_is_looked_at_and_nothing_is_submitted(head: Head, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "data: {dir: runs/faces, layout: synthetic}\nsearch: {space: {loss.triplet.margin: {uniform: [0.1, 1]}}}\n"
    )
    home = {"VISAGE_HOME": str(tmp_path), "VISAGE_STORAGE": ""}
    looked = head.visage("doctor", "mine.yaml", "--env", "VISAGE_HOME", "--json", folder=tmp_path, **home)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    found = Examination.model_validate_json(looked.stdout)
    assert {check.place for check in found.checks} == {"127.0.0.1", "all"}
    assert "trials of 40,000 images, 1 side by side" in found.estimate  # of two CPUs the driver has one
    assert not (tmp_path / "runs").exists()

    dry = ("tune", "mine.yaml", "--set", "train.gpus_per_worker=1", "--env", "VISAGE_HOME", "--dry-run")
    refused = head.visage("submit", *dry, folder=tmp_path, **home)
    assert refused.returncode == 1
    assert "would fail first: trials of all" in " ".join(refused.stdout.split())
    assert "visage-tune" not in head.visage("jobs", folder=tmp_path).stdout


@pytest.mark.ray
def test_where_no_cpu_is_free_the_nodes_lines_say_so(head: Head, tmp_path: Path) -> None:
    """Two other jobs hold both CPUs of the head."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(head.address, headers={"Authorization": f"Bearer {TOKEN}"})
    held = [client.submit_job(entrypoint="sleep 600", entrypoint_num_cpus=1) for _ in range(2)]
    try:
        for job in held:
            for _ in range(600):
                if client.get_job_status(job) == "RUNNING":
                    break
                time.sleep(0.2)
        looked = head.visage("doctor", "--json", folder=tmp_path)
        assert looked.returncode == 1, looked.stderr
        [check] = Examination.model_validate_json(looked.stdout).checks
        assert (check.place, check.subject, check.state) == ("127.0.0.1", "node", "broken")
        assert check.found == "no CPU was free of its 2, so that it was not looked at"
    finally:
        for job in held:
            client.stop_job(job)


@pytest.mark.ray
def test_a_script_runs_as_it_is_under_ray_job_submit(head: Head, tmp_path: Path) -> None:
    env = {"env_vars": {"PYTHONPATH": "platform"}, "excludes": ["/tests", "/docs", "/benchmarks"]}
    options = ["--address", head.address, "--working-dir", str(ROOT), "--runtime-env-json", json.dumps(env)]
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", *options, "--"]
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    script = [*command, "python", "jobs/run.py", "tune", "not-here.yaml"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1
    assert "visage: not-here.yaml: there is no such file" in done.stdout + done.stderr


@pytest.mark.ray
def test_a_token_is_needed_and_must_be_the_right_one(head: Head, tmp_path: Path) -> None:
    def jobs(**token: str) -> subprocess.CompletedProcess[str]:
        own = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN": "", **token}
        return visage("jobs", "--address", head.address, folder=tmp_path, **own)

    assert_one_sentence(jobs(), head.address, "asks for a token", "RAY_AUTH_TOKEN")
    wrong = jobs(RAY_AUTH_TOKEN="not-this-one-0123456789abcdef012345")
    assert_one_sentence(wrong, head.address, "refuses the token")
    assert "not-this-one" not in wrong.stderr
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    right = jobs(RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert right.returncode == 0, right.stderr
    assert_one_sentence(jobs(RAY_AUTH_TOKEN_PATH="/no/such/file"), "/no/such/file", "cannot be read")


def test_what_is_wrong_here_is_said_before_a_cluster_is_asked(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("data: {dir: faces}\n")
    (tmp_path / "bad.yaml").write_text("data: {dir: faces}\ntrian: {batch: 3}\n")
    (tmp_path / "secret.yaml").write_text("data: {dir: f}\nsearch: {storage: 'postgresql://a:hush@db/x'}\n")
    for arguments, words in (
        (("tune", "bad.yaml"), ("trian", "did you mean train")),
        (("ablate", "bad.yaml"), ("trian", "did you mean train")),
        (("tune", "none.yaml"), ("none.yaml", "no such file")),
        (("tune", "secret.yaml"), ("secret.yaml", "password", "--env")),
        (("tune", "good.yaml", "--set", "search.storage=postgresql://a:hush@db/x"), ("password",)),
        (("tune", "good.yaml", "--env", "NOT_SET_HERE"), ("NOT_SET_HERE", "not set")),
        (("tune", "good.yaml", "--env", "TOKEN=hush"), ("TOKEN", "name of a variable")),
    ):
        done = visage("submit", *arguments, "--address", NOWHERE, folder=tmp_path)
        assert_one_sentence(done, *words)
        assert "hush" not in done.stderr
    used = visage("submit", "tune", "good.yaml", "--no-such", "--address", NOWHERE, folder=tmp_path)
    assert used.returncode == 2
    assert "--no-such" in used.stderr


def test_an_address_that_is_no_ray_cluster_is_one_sentence(tmp_path: Path) -> None:
    assert_one_sentence(visage("jobs", "--address", NOWHERE, folder=tmp_path), NOWHERE, "no Ray cluster answers")
    assert_one_sentence(visage("jobs", "--address", "ray://head:10001", folder=tmp_path), "ray://", "http://HOST:8265")
    with running(FastAPI()) as other:
        assert_one_sentence(visage("jobs", "--address", other, folder=tmp_path), other, "no Ray cluster")


@pytest.mark.parametrize(("what", "there"), [("Ray", "1.9.2"), ("Python", "3.7.3")])
def test_a_cluster_of_another_version_is_one_sentence(tmp_path: Path, what: str, there: str) -> None:
    import ray

    app = FastAPI()

    @app.get("/api/v0/cluster_metadata")
    def metadata() -> dict[str, Any]:
        # What a head of Ray 2.60 answers, with another version in it.
        versions = {"Ray": ray.__version__, "Python": sys.version.split()[0], what: there}
        return {"result": True, "data": {"rayVersion": versions["Ray"], "pythonVersion": versions["Python"]}}

    with running(app) as address:
        done = visage("jobs", "--address", address, folder=tmp_path)
    assert_one_sentence(done, address, f"the cluster runs {what} {there.rpartition('.')[0]}")


def test_a_jobs_driver_has_a_cpu_of_a_node_and_is_not_on_the_head(tmp_path: Path) -> None:
    """Ray puts the driver of a job that asks for nothing on the head, whose memory is not made for its work."""
    import ray

    app, sent = FastAPI(), []

    @app.get("/api/v0/cluster_metadata")
    @app.get("/api/version")
    def metadata() -> dict[str, Any]:
        versions = {"rayVersion": ray.__version__, "pythonVersion": sys.version.split()[0]}
        return {"result": True, "data": versions, "version": "4", "ray_version": ray.__version__}

    @app.get("/api/jobs/")
    def jobs() -> list[Any]:
        return []

    @app.get("/api/packages/{protocol}/{name}")
    def there() -> None:
        """What travels with a configuration has been sent before."""

    @app.post("/api/jobs/")
    def submitted(job: dict[str, Any]) -> dict[str, str]:
        sent.append(job)
        return {"job_id": job["submission_id"], "submission_id": job["submission_id"]}

    with running(app) as address:
        asked = ("prepare", *SMALL, "--out", "faces", "--image", "--address", address)
        done = visage("submit", *asked, folder=tmp_path)
        (tmp_path / "mine.yaml").write_text("data: {dir: runs/faces, layout: synthetic}\nsearch: {name: mine}\n")
        tuned = visage("submit", "tune", "mine.yaml", "--image", "--address", address, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "or:   visage study mine --web" in tuned.stdout, tuned.stderr
    [job, _] = sent
    assert job["entrypoint_num_cpus"] == 1
    # The driver counts what is left for its work.
    assert float(job["runtime_env"]["env_vars"]["VISAGE_DRIVER_CPUS"]) == job["entrypoint_num_cpus"]


@pytest.mark.ray
def test_a_command_without_an_address_has_a_ray_of_its_own(head: Head, tmp_path: Path) -> None:
    """By itself Ray would join the head that it finds on the machine, whose token this command has not."""
    code = "from visage.infra.ray_session import local_ray\nwith local_ray(dashboard=False):\n    print('its own')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "its own\n", done.stderr
