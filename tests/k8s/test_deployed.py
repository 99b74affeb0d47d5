"""What the manifests say is run: the endpoint's configuration on a local Ray, the job's entrypoint through its API."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray_head import TOKEN, Head

from serve_app.api_keys import make_key
from serve_app.ingress import free_ports
from tests.serve_app.samples import make_bundle
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks

Documents = dict[str, list[dict[str, Any]]]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def document(rendered: Documents, folder: str, kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in rendered[folder] if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture
def champion(tmp_path: Path) -> str:
    """The address of a registry with a champion."""
    from visage.registry.models import Registry
    from visage.registry.tracking import Tracking

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    make_bundle(tmp_path / "bundle")
    registry = Registry(uri)
    registry.register(tmp_path / "bundle", Tracking(uri, "test").start_run("run").run_id)
    registry.promote("visage-ucgan/1", force=True)
    return uri


def mount(folder: Path, line: str) -> Path:
    """A secret's file with this line, as the kubelet mounts it, and changes it later: one link goes to a new folder."""
    turn = folder / f"..{len(list(folder.glob('*')))}"
    turn.mkdir(parents=True)
    (turn / "keys").write_text(f"{line}\n")
    (folder / "..new").symlink_to(turn.name)
    (folder / "..new").rename(folder / "..data")
    if not (folder / "keys").is_symlink():
        (folder / "keys").symlink_to("..data/keys")
    return folder / "keys"


@pytest.mark.serve
def test_the_endpoints_configuration_deploys_answers_and_follows_its_keys(
    rendered: Documents, head: Head, champion: str, tmp_path: Path
) -> None:
    service = document(rendered, "base", "RayService", "visage-endpoint")["spec"]
    config = yaml.safe_load(service["serveConfigV2"])
    [port] = free_ports(1)
    # As KubeRay sends it, but for the port, which this machine may use, and the environment, which the pods bring.
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    key, line = make_key("test", None)
    access = config["applications"][0]["args"]["access"]
    assert access == {"keys": "/etc/visage/keys"}
    access["keys"] = str(mount(tmp_path / "secret", line))
    variables = {"MLFLOW_TRACKING_URI": champion, "PYTHONPATH": os.pathsep.join(sys.path)}
    config["applications"][0]["runtime_env"] = {"env_vars": variables}
    served = f"{head.address}/api/serve/applications/"
    try:
        sent = httpx.put(served, json=config, headers=BEARER, timeout=60)
        assert sent.status_code == 200, sent.text
        state = answered = None
        for _ in range(300):
            state = httpx.get(served, headers=BEARER, timeout=30).json()["applications"]["visage"]
            assert state["status"] != "DEPLOY_FAILED", state["message"]
            if state["status"] == "RUNNING":
                asked = f"http://127.0.0.1:{port}/v1/model"
                answered = httpx.get(asked, headers={"Authorization": f"Bearer {key}"}, timeout=30)
                if answered.status_code == 200:
                    break
            time.sleep(1)
        assert answered is not None, state
        assert answered.json()["name"] == "visage-ucgan"
        assert answered.json()["alias"] == "champion"
        assert httpx.get(asked, timeout=30).status_code == 401

        def status(key: str) -> int:
            return httpx.get(asked, headers={"Authorization": f"Bearer {key}"}, timeout=30).status_code

        other, line = make_key("other", None)
        mount(tmp_path / "secret", line)
        for _ in range(60):
            if (status(other), status(key)) == (200, 401):
                break
            time.sleep(1)
        assert (status(other), status(key)) == (200, 401)
    finally:
        httpx.delete(served, headers=BEARER, timeout=60)


@pytest.mark.soak
def test_the_jobs_entrypoint_runs_a_study(
    rendered: Documents, head: Head, judged: tuple[FaceSet, FaceNetworks], tmp_path: Path
) -> None:
    from ray.job_submission import JobStatus, JobSubmissionClient

    job = document(rendered, "jobs", "RayJob", "tune-synthetic")["spec"]
    (tmp_path / "small.yaml").write_text(
        f"""
data: {{dir: {judged[0].dir}}}
method: {{width: 8, discriminator_width: 8}}
train: {{images: 64, batch: 8, evaluate_every: 32, evaluate_pairs: 16}}
judge: {{images: 4000, bootstrap: 200}}
search:
  name: from-the-manifest
  trials: 2
  grace_images: 32
  space: {{loss.pixel.weight: {{log_uniform: [1, 200]}}}}
"""
    )
    settings = document(rendered, "base", "ConfigMap", "visage")["data"]
    there = {"MLFLOW_TRACKING_URI": "mlflow.db", "OPTUNA_STORAGE": "optuna.db"}
    variables = {name: f"sqlite:///{tmp_path}/{there[name]}" for name in settings if name in there}
    variables |= {"VISAGE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    env = yaml.safe_load(job["runtimeEnvYAML"])
    env["env_vars"] |= variables
    entrypoint = job["entrypoint"].replace("/app/configs/synthetic_search.yaml", str(tmp_path / "small.yaml"))
    assert str(tmp_path) in entrypoint
    client = JobSubmissionClient(head.address, headers=BEARER)
    for _ in range(2):  # the second goes on, and finds all done
        name = client.submit_job(entrypoint=entrypoint, runtime_env=env, entrypoint_num_cpus=job["entrypointNumCpus"])
        for _ in range(900):
            if client.get_job_status(name).is_terminal():
                break
            time.sleep(1)
        assert client.get_job_status(name) == JobStatus.SUCCEEDED, client.get_job_logs(name)
    from visage.registry.models import Registry

    [version] = Registry(variables["MLFLOW_TRACKING_URI"]).list()
    assert version.name == "visage-ucgan"
    assert (tmp_path / "runs" / "studies" / "from-the-manifest").is_dir() or (tmp_path / "studies").is_dir()
