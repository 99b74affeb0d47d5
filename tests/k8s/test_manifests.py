"""The manifests: valid, locked down, and of one mind with the code."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.k8s.documents import DEPLOYED, Documents, all_pods, named, pods, running, selects

ROOT = Path(__file__).parents[2]
CHECK = ROOT.parent / "shared" / "tools" / "check-manifests"


@pytest.mark.slow
@pytest.mark.parametrize("folder", [*DEPLOYED, "jobs"])
def test_the_schemas_accept_every_document(rendered: Documents, folder: str) -> None:
    if not CHECK.is_file():
        pytest.skip("the schemas are not beside the project")
    done = subprocess.run([sys.executable, CHECK, ROOT / "k8s" / folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_no_field_has_a_rule_that_only_an_api_server_would_apply(rendered: Documents) -> None:
    """The schemas' rules in CEL (x-kubernetes-validations), which the check above does not evaluate."""
    folder = CHECK.parents[1] / "kuberay-crds"
    if not folder.is_dir():
        pytest.skip("the schemas are not beside the project")

    def ruled(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
        if "x-kubernetes-validations" in schema:
            yield path
        for key, inner in schema.get("properties", {}).items():
            if isinstance(value, dict) and key in value:
                yield from ruled(inner, value[key], f"{path}.{key}")
        for each in value if isinstance(value, list) else ():
            yield from ruled(schema["items"], each, f"{path}[]")

    names = {"RayCluster": "rayclusters", "RayService": "rayservices", "RayJob": "rayjobs"}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    seen = 0
    for kind, plural in names.items():
        [version] = [
            each["schema"]["openAPIV3Schema"]
            for each in yaml.load((folder / f"ray.io_{plural}.yaml").read_text(), loader)["spec"]["versions"]
            if each["name"] == "v1"
        ]
        assert list(ruled(version, {"spec": {"managedBy": "me"}}, kind)) == [f"{kind}.spec.managedBy"]
        for folder_name in (*DEPLOYED, "jobs"):
            for name, document in named(rendered[folder_name], kind).items():
                seen += 1
                assert not list(ruled(version, document, kind)), f"{folder_name}: {name}"
    assert seen == 2 * len(DEPLOYED) + 1


def test_every_pod_is_restricted_and_asks_for_what_it_needs(rendered: Documents) -> None:
    for where, pod in all_pods(rendered):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, where
        assert context["runAsUser"] > 0, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            here = f"{where} {container['name']}"
            locked = container["securityContext"]
            assert locked["allowPrivilegeEscalation"] is False, here
            assert locked["readOnlyRootFilesystem"] is True, here
            assert locked["capabilities"] == {"drop": ["ALL"]}, here
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), here
            assert "memory" in container["resources"]["limits"], here
        writable = {volume["name"] for volume in pod["volumes"]} if "volumes" in pod else {"data"}
        assert writable & {"tmp", "data"}, where


def test_images_are_pinned(rendered: Documents) -> None:
    for where, pod in all_pods({folder: rendered[folder] for folder in (*DEPLOYED[1:], "jobs")}):
        for container in pod["containers"]:
            tag = container["image"].rpartition(":")[2]
            assert tag, where
            assert tag != "latest", where
            assert "/" not in tag, f"{where}: {container['image']} has no tag"


def test_versions_are_those_of_the_project(rendered: Documents) -> None:
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    for folder in DEPLOYED:
        cluster = named(rendered[folder], "RayCluster")["visage"]["spec"]
        service = named(rendered[folder], "RayService")["visage-endpoint"]["spec"]["rayClusterConfig"]
        assert {cluster["rayVersion"], service["rayVersion"]} == {pinned["ray"]}
    dockerfile = (ROOT / "k8s" / "Dockerfile").read_text()
    assert "python:3.11." in dockerfile  # what constraints.txt was made with
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / each).exists() for each in source.split()), source


def test_the_code_reads_what_the_settings_say(rendered: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.run import HOME
    from visage.config import Experiment, Serving
    from visage.config.data import STORAGE

    for folder in DEPLOYED:
        settings = named(rendered[folder], "ConfigMap")["visage"]["data"]
        bucket = {STORAGE, "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"} if folder == "overlays/production" else set()
        assert settings.keys() == {"MLFLOW_TRACKING_URI", "OPTUNA_STORAGE", HOME} | bucket
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        experiment = Experiment.model_validate({"data": {"dir": "faces"}})
        assert experiment.train.storage == settings.get(STORAGE)
        assert (experiment.data.address is not None) == bool(bucket)
        assert experiment.registry.tracking_uri == Serving().tracking_uri == settings["MLFLOW_TRACKING_URI"]
        assert experiment.search.storage == settings["OPTUNA_STORAGE"]
        for where, pod in pods(named(rendered[folder], "RayCluster")["visage"]):
            ray = pod["containers"][0]
            assert settings[HOME] in [mount["mountPath"] for mount in ray["volumeMounts"]], where
            assert {"configMapRef": {"name": "visage"}} in ray["envFrom"], where
            secrets = {variable["name"] for variable in ray["env"] if "secretKeyRef" in variable.get("valueFrom", {})}
            assert secrets == {"PGPASSWORD"} | ({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} if bucket else set()), (
                where
            )
            [own] = [volume for volume in pod["volumes"] if volume["name"] == "shared"]
            assert ("emptyDir" in own) == bool(bucket), where


def test_mlflows_server_runs_no_jobs_and_is_given_time_to_start(rendered: Documents, tmp_path: Path) -> None:
    """Its runner of jobs fills the pod's memory while nothing is to do, and is on by itself."""
    from k8s.servers import mlflow

    s3 = {"AWS_ENDPOINT_URL": "http://objects:8333"}
    same = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "MLFLOW_DISABLE_TELEMETRY"}
    here = mlflow(tmp_path, 5000, 5432, "password", s3).environment
    for folder in DEPLOYED:
        [server] = named(rendered[folder], "Deployment")["mlflow"]["spec"]["template"]["spec"]["containers"]
        given = {each["name"]: each.get("value") for each in server["env"]}
        assert given["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false", folder
        assert {name: given[name] for name in same} == {name: here[name] for name in same}, folder
        # Before it has answered once, the liveness probe does not ask.
        assert server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"] >= 600, folder


def test_addresses_lead_to_a_service_of_the_same_port_or_outside(rendered: Documents) -> None:
    for folder in DEPLOYED:
        services = named(rendered[folder], "Service")
        ports = {(name, port["port"]) for name, each in services.items() for port in each["spec"]["ports"]}
        text = yaml.safe_dump_all(rendered[folder])
        addresses = {urlsplit(found) for found in re.findall(r"\b(?:https?|postgresql(?:\+\w+)?)://[^\s'\"]+", text)}
        assert len(addresses) >= 3
        for address in addresses:
            host = str(address.hostname)
            assert host.endswith(".example") or (host, address.port) in ports, f"{folder}: {address.geturl()}"
        assert ("redis", 6379) in ports or folder == "overlays/production"


def test_services_reach_a_port_of_their_pods(rendered: Documents) -> None:
    for folder in DEPLOYED:
        opened: dict[str, set[int]] = {}
        for each in rendered[folder]:
            template = each.get("spec", {}).get("template", {}) if each["kind"] in ("Deployment", "StatefulSet") else {}
            for container in template.get("spec", {}).get("containers", ()):
                name = template["metadata"]["labels"]["app.kubernetes.io/name"]
                opened.setdefault(name, set()).update(port["containerPort"] for port in container["ports"])
        for name, service in named(rendered[folder], "Service").items():
            wanted = {port["port"] for port in service["spec"]["ports"]}
            assert wanted <= opened[service["spec"]["selector"]["app.kubernetes.io/name"]], f"{folder}: {name}"


def test_policies_deny_by_default_and_open_no_port_of_ray(rendered: Documents) -> None:
    for folder in DEPLOYED:
        policies = named(rendered[folder], "NetworkPolicy")
        deny = policies["default-deny"]["spec"]
        assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        for name, policy in policies.items():
            for rule in policy["spec"].get("ingress", ()):
                outside = [peer for peer in rule.get("from", [{}]) if "podSelector" not in peer]
                ports = {port["port"] for port in rule.get("ports", [{"port": "any"}])}
                assert not outside or ports <= {8000, 8080, 8089, 8265, 44217, 44227}, f"{folder}: {name}"
                if 8265 in ports and outside:  # whoever reaches it runs what he likes
                    assert outside == [
                        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-operator"}}}
                    ]


def test_a_change_of_heads_and_stores_is_bounded(rendered: Documents) -> None:
    for folder in DEPLOYED:
        budgets = named(rendered[folder], "PodDisruptionBudget")
        stores = named(rendered[folder], "StatefulSet")
        assert bool(stores) == ("stores" in budgets) == (folder != "overlays/production")
        if stores:
            assert set(budgets["stores"]["spec"]["selector"]["matchExpressions"][0]["values"]) == set(stores)


def test_heads_do_no_work_and_gpus_start_at_none(rendered: Documents) -> None:
    for folder in DEPLOYED:
        cluster = named(rendered[folder], "RayCluster")["visage"]["spec"]
        service = named(rendered[folder], "RayService")["visage-endpoint"]["spec"]["rayClusterConfig"]
        kept = "rediss://redis.example:6379" if folder == "overlays/production" else "redis:6379"
        for each, token in ((cluster, "visage-ray"), (service, "visage-endpoint-ray")):
            assert each["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
            assert each["autoscalerOptions"]["version"] == "v2"
            # Of its own, so that who may run code in the one cluster may not in the other.
            assert each["authOptions"] == {"mode": "token", "secretName": token}
            assert each["gcsFaultToleranceOptions"]["redisAddress"] == kept
        groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
        assert ("gpu" in groups) == (folder != "overlays/local")
        assert all(group["minReplicas"] == 0 for group in groups.values())


def test_the_endpoint_asks_for_what_its_workers_have(rendered: Documents) -> None:
    from visage.config import Serving

    for folder in DEPLOYED:
        spec = named(rendered[folder], "RayService")["visage-endpoint"]["spec"]
        application = yaml.safe_load(spec["serveConfigV2"])["applications"][0]
        serving = Serving.model_validate(application["args"])
        group = spec["rayClusterConfig"]["workerGroupSpecs"][0]
        resources = group["template"]["spec"]["containers"][0]["resources"]
        gpus = resources["limits"].get("nvidia.com/gpu", 0)
        assert serving.replicas.num_cpus <= float(resources["requests"]["cpu"])
        assert bool(serving.replicas.num_gpus) == bool(gpus)
        fits = float(resources["requests"]["cpu"]) // serving.replicas.num_cpus
        if gpus:
            fits = min(fits, gpus // serving.replicas.num_gpus)
        assert serving.replicas.max <= fits * group["maxReplicas"], folder
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_what_the_endpoint_fetches_lies_where_its_pods_may_write(rendered: Documents) -> None:
    from visage.config.data import HOME

    for folder in DEPLOYED:
        for where, pod in pods(named(rendered[folder], "RayService")["visage-endpoint"]):
            volumes = {each["name"]: each for each in pod["volumes"]}
            ray = pod["containers"][0]
            given = {each["name"]: each.get("value") for each in ray["env"]}
            writable = {each["mountPath"] for each in ray["volumeMounts"] if "emptyDir" in volumes[each["name"]]}
            assert given[HOME] in writable, where


def test_haproxy_is_set_up_as_the_code_does(rendered: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import tomllib

    from serve_app.haproxy import BINARY, SLEEPS, UPLOAD_SECONDS
    from serve_app.ingress import environment
    from visage.config import Serving

    for name in [name for name in os.environ if name.startswith("RAY_SERVE_")]:
        monkeypatch.delenv(name)  # an endpoint of this process left its own
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for folder in DEPLOYED:
        service = named(rendered[folder], "RayService")["visage-endpoint"]
        args = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"][0]["args"]
        serving = Serving.model_validate(args)
        wanted = environment(serving)
        for where, pod in pods(service):
            given = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
            own = Path(given.pop(BINARY))  # HAProxy with our rules
            assert (str(own.parent), own.name in scripts) == ("/opt/visage/bin", True), where
            assert given[SLEEPS] == str(int(serving.replicas.min == 0)), where
            assert float(given[UPLOAD_SECONDS]) == serving.limits.upload_seconds, where
            ours = {name: value for name, value in given.items() if name.startswith("RAY_SERVE_")}
            assert len(ours) >= 5, where
            assert ours == {name: wanted[name] for name in ours}, where


def test_the_job_names_a_script_and_a_file_of_the_image(rendered: Documents) -> None:
    [job] = rendered["jobs"]
    words = job["spec"]["entrypoint"].split()
    assert words[:4] == ["python", "-m", "jobs.run", "tune"]
    assert (ROOT / "jobs" / "run.py").is_file()
    copied = dict(re.findall(r"^COPY (\S+) (/\S+)$", (ROOT / "k8s" / "Dockerfile").read_text(), re.MULTILINE))
    source = {target: source for source, target in copied.items()}[str(Path(words[4]).parent)]
    assert (ROOT / source / Path(words[4]).name).is_file()
    cluster = named(rendered["base"], "RayCluster")
    assert job["spec"]["clusterSelector"]["ray.io/cluster"] in cluster
    labels = job["spec"]["submitterPodTemplate"]["metadata"]["labels"]
    assert labels.items() <= named(rendered["base"], "NetworkPolicy")["submitter"]["spec"]["podSelector"][
        "matchLabels"
    ].items() | set(labels.items())


def test_every_secret_is_made_by_the_page_on_kubernetes(rendered: Documents) -> None:
    wanted: set[tuple[str, str]] = set()

    def look(node: Any) -> None:
        if isinstance(node, dict):
            if "secretKeyRef" in node:
                wanted.add((node["secretKeyRef"]["name"], node["secretKeyRef"]["key"]))
            if "secretName" in node and "items" in node:
                wanted.update((node["secretName"], item["key"]) for item in node["items"])
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    look(list(rendered.values()))
    page = (ROOT / "docs" / "kubernetes.md").read_text().replace("\\\n", " ")
    made = {
        (name, key)
        for name, rest in re.findall(r"kubectl create secret generic (\S+)([^\n]*)", page)
        for key in re.findall(r"--from-(?:literal|file)=([\w.-]+)=", rest)
    }
    assert len(wanted) >= 5
    assert wanted <= made


def test_monitoring_looks_at_a_port_that_the_pods_have(rendered: Documents) -> None:
    """And the policies let Prometheus in there."""
    for folder in DEPLOYED:
        there = running(rendered[folder])
        opened = {
            each["port"] for each in named(rendered[folder], "NetworkPolicy")["metrics"]["spec"]["ingress"][0]["ports"]
        }
        for name, monitor in named(rendered["monitoring"], "PodMonitor").items():
            taken = [pod for pod in there if selects(monitor["spec"]["selector"], pod.labels)]
            heads = [pod for pod in there if pod.labels.get("ray.io/node-type") == "head"]
            every = [pod for pod in there if "ray.io/node-type" in pod.labels]
            assert taken == (every if name == "ray" else heads), f"{folder}: {name}"
            for pod in taken:
                ports = {port["name"]: port["containerPort"] for port in pod.spec["containers"][0]["ports"]}
                for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                    assert ports[endpoint["port"]] in opened, f"{folder}: {name}"
