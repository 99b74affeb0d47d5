"""What breaks after the first `apply`: an upgrade, a machine that goes, one that is large, a study that takes all."""

import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from serve_app.ingress import SECRET
from serve_app.middleware import WEBHOOK
from tests.k8s.documents import DEPLOYED, Documents, Pod, all_pods, named, running, selects
from tests.k8s.test_manifests import CHECK
from tests.k8s.test_reach import reached
from visage.cli import app
from visage.search.watch.lineage import ENDPOINT as OWN_ENDPOINT
from visage.search.watch.lineage import PAGES

ROOT = Path(__file__).parents[2]
SPREAD = "topologySpreadConstraints"
URL = urllib.parse.urlsplit(f"http://visage-endpoint:8000{WEBHOOK}")


def clusters(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The specifications of both Ray clusters: of the jobs', of the endpoint's."""
    service = named(documents, "RayService")["visage-endpoint"]["spec"]
    return [named(documents, "RayCluster")["visage"]["spec"], service["rayClusterConfig"]]


def endpoint(documents: list[dict[str, Any]]) -> Pod:
    [found] = [pod for pod in running(documents) if pod.labels.get("visage/role") == "endpoint"]
    return found


def variables(pod: Pod) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in pod.spec["containers"][0]["env"]}


def test_another_image_reaches_both_clusters(rendered: Documents) -> None:
    """KubeRay leaves a RayCluster's pods as they are, and starts new ones of the new kind beside them, unless told."""
    for folder in DEPLOYED:
        jobs, _ = clusters(rendered[folder])
        assert jobs["upgradeStrategy"] == {"type": "Recreate"}, folder
        service = named(rendered[folder], "RayService")["visage-endpoint"]["spec"]
        assert service["upgradeStrategy"]["type"] == ("None" if folder == "overlays/local" else "NewCluster")
    # Where there is no room for two, the page says how.
    assert "kubectl delete rayservice visage-endpoint" in (ROOT / "docs" / "kubernetes.md").read_text()


def test_the_endpoints_nodes_are_on_several_machines(rendered: Documents) -> None:
    for folder in DEPLOYED:
        pod = endpoint(rendered[folder])
        by_machine, by_zone = pod.spec[SPREAD]
        assert by_machine["topologyKey"] == "kubernetes.io/hostname"
        sure = folder == "overlays/production"
        assert by_machine["whenUnsatisfiable"] == ("DoNotSchedule" if sure else "ScheduleAnyway"), folder
        assert by_machine.get("minDomains", 1) == (2 if sure else 1), folder  # or one machine would satisfy it
        assert (by_zone["topologyKey"], by_zone["whenUnsatisfiable"]) == (
            "topology.kubernetes.io/zone",
            "ScheduleAnyway",
        )
        for each in (by_machine, by_zone):
            assert each["labelSelector"]["matchLabels"].items() <= pod.labels.items()
            assert each["matchLabelKeys"] == ["ray.io/cluster"]  # or an upgrade's second cluster had to mend the first


def test_a_node_that_is_told_to_end_answers_what_it_was_asked(rendered: Documents) -> None:
    """Ray closes the port about 3 s after SIGTERM; by then nobody may ask, and everybody must have been answered."""
    for folder in DEPLOYED:
        pod = endpoint(rendered[folder])
        sleeps = pod.spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        longest = float(variables(pod)["RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S"]["value"])
        assert sleeps >= longest + 5, folder
        assert pod.spec["terminationGracePeriodSeconds"] >= sleeps + 30, folder


def test_gpus_and_their_image_go_to_who_asks_for_them(rendered: Documents) -> None:
    for folder in ("overlays/gpu", "overlays/production", "jobs"):
        for pod in running(rendered[folder]):
            [container] = pod.spec["containers"]
            if "visage" in container["image"]:
                asks = "nvidia.com/gpu" in container["resources"]["limits"]
                assert container["image"].endswith("-gpu" if asks else "-cpu"), f"{folder}: {pod.name}"
    for folder in DEPLOYED:
        for cluster in clusters(rendered[folder]):
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
                if group.get("groupName") != "replicas" and "nvidia.com/gpu" not in limits:
                    assert group["rayStartParams"]["num-gpus"] == "0", folder
    # The device plugin sets it for who asks; all others see none, where the runtime reads the image's own.
    last = (ROOT / "k8s" / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"NVIDIA_VISIBLE_DEVICES=(\S+)", last) == ["void"]


def test_a_machine_that_is_gone_is_not_waited_for(rendered: Documents) -> None:
    for folder in DEPLOYED:
        for pod in running(rendered[folder]):
            if "ray.io/is-ray-node" in pod.labels:
                for taint in ("not-ready", "unreachable"):
                    key = f"node.kubernetes.io/{taint}"
                    [found] = [each for each in pod.spec["tolerations"] if each["key"] == key]
                    assert found["tolerationSeconds"] <= 30, f"{folder}: {pod.name}"
                    assert (found["operator"], found["effect"]) == ("Exists", "NoExecute")


def test_processes_are_counted_by_what_the_pod_asked_for(rendered: Documents) -> None:
    """joblib starts one for each core of the machine, of which a pod without a limit of CPUs sees all."""
    name = "LOKY_MAX_CPU_COUNT"
    for folder in DEPLOYED:
        for pod in running(rendered[folder]):
            if pod.labels.get("ray.io/cluster") == "visage":
                assert variables(pod)[name]["valueFrom"] == {"resourceFieldRef": {"resource": "requests.cpu"}}, pod.name
    code = "import joblib; print(joblib.effective_n_jobs(-1))"
    done = subprocess.run([sys.executable, "-c", code], env={name: "1"}, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


def test_what_a_pod_writes_to_its_machines_disk_is_asked_for(rendered: Documents) -> None:
    for where, pod in all_pods(rendered):
        disks = [each for each in pod.get("volumes", ()) if "emptyDir" in each and "medium" not in each["emptyDir"]]
        asked = [each["resources"]["requests"].get("ephemeral-storage") for each in pod["containers"]]
        assert not disks or all(asked), where
        assert all("sizeLimit" in each["emptyDir"] for each in disks), where


def test_a_study_makes_room_for_all_else(rendered: Documents) -> None:
    for folder in DEPLOYED:
        [(name, priority)] = named(rendered[folder], "PriorityClass").items()
        assert -10 < priority["value"] < 0  # machines are added for what is above -10
        assert "globalDefault" not in priority
        for pod in running(rendered[folder]):
            studies = pod.labels.get("visage/cluster") == "jobs" and pod.labels["ray.io/node-type"] == "worker"
            assert pod.spec.get("priorityClassName") == (name if studies else None), f"{folder}: {pod.name}"


def test_a_driver_may_wait_for_a_machine_that_is_made_first(rendered: Documents) -> None:
    for folder in DEPLOYED:
        [head] = [pod for pod in running(rendered[folder]) if pod.name == "visage headgroup"]
        assert float(variables(head)["RAY_JOB_START_TIMEOUT_SECONDS"]["value"]) > 900


def test_a_commit_changes_a_small_layer_of_the_image() -> None:
    """What is installed for it stands in layers that come before the code, and are made without it."""
    stages: dict[str, list[str]] = {}
    text = re.sub(r"\\\n\s*", " ", (ROOT / "k8s" / "Dockerfile").read_text())
    for line in text.splitlines():
        if made := re.match(r"FROM (\S+) AS (\S+)", line):
            stages[made[2]] = list(stages.get(made[1], ()))
            name = made[2]
        elif line and not line.startswith(("#", "ARG ")):
            stages[name].append(line)
    for target in ("cpu", "gpu"):
        [first, *rest] = [line for line in stages[target] if line.startswith("COPY --from") and "/opt/visage" in line]
        assert rest
        of = re.match(r"COPY --from=(\S+)", first)
        assert of
        needs = stages[of[1]]
        assert any("pip install" in line for line in needs)
        assert not [line for line in needs if re.match(r"COPY .*\b(platform|jobs|serve_app|pyproject)", line)]


def test_everything_of_an_overlay_says_what_it_is_part_of(rendered: Documents) -> None:
    for folder in DEPLOYED:
        for each in rendered[folder]:
            labels = each["metadata"].get("labels", {})
            assert labels.get("app.kubernetes.io/part-of") == "visage", f"{folder}: {each['metadata']['name']}"


def test_a_store_that_hangs_is_started_again(rendered: Documents) -> None:
    redis = named(rendered["base"], "StatefulSet")["redis"]["spec"]["template"]["spec"]["containers"][0]
    assert "redis-cli ping" in redis["livenessProbe"]["exec"]["command"][-1]


def test_a_certificate_can_be_issued(rendered: Documents) -> None:
    """Let's Encrypt asks a pod that cert-manager starts in this namespace, by way of the ingress controller."""
    policies = named(rendered["overlays/production"], "NetworkPolicy")
    solver = policies["acme"]["spec"]
    assert solver["podSelector"] == {"matchLabels": {"acme.cert-manager.io/http01-solver": "true"}}
    [rule] = solver["ingress"]
    assert rule["from"] == policies["endpoint"]["spec"]["ingress"][0]["from"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8089}]


def test_the_autoscaler_beside_a_head_is_as_locked_as_the_pods(rendered: Documents) -> None:
    """KubeRay adds it, as it adds a worker's init container, which gets its own container's context."""
    for folder in DEPLOYED:
        for cluster in clusters(rendered[folder]):
            locked = cluster["autoscalerOptions"]["securityContext"]
            assert locked["allowPrivilegeEscalation"] is False
            assert locked["capabilities"] == {"drop": ["ALL"]}
    labels = named(rendered["base"], "Namespace")["visage"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["pod-security.kubernetes.io/enforce-version"] == "v1.33"


def test_the_endpoints_settings_of_an_overlay_differ_in_its_replicas_alone(rendered: Documents) -> None:
    """Each overlay repeats the whole of serveConfigV2, which is one string."""
    told = {}
    for folder in DEPLOYED:
        told[folder] = yaml.safe_load(named(rendered[folder], "RayService")["visage-endpoint"]["spec"]["serveConfigV2"])
        args = told[folder]["applications"][0]["args"]
        for own in ("replicas", "batching"):
            args.pop(own, None)
    assert all(each == told["base"] for each in told.values())


def with_component(folder: Path, name: str) -> list[dict[str, Any]]:
    """Overlay `production` with a component, by its line in the overlay."""
    shutil.copytree(ROOT / "k8s", folder / "k8s", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = overlay(folder) / "kustomization.yaml"
    own = yaml.safe_load(file.read_text())
    assert "components" not in own
    file.write_text(yaml.safe_dump(own | {"components": [f"../../components/{name}"]}, sort_keys=False))
    done = subprocess.run(["kubectl", "kustomize", overlay(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def overlay(folder: Path) -> Path:
    return folder / "k8s" / "overlays" / "production"


def test_cilium_lets_the_autoscalers_ask_the_api_server(rendered: Documents, tmp_path: Path) -> None:
    documents = with_component(tmp_path, "cilium")
    cilium = named(documents, "CiliumNetworkPolicy")["api-server"]
    assert cilium["metadata"]["namespace"] == "visage"
    assert cilium["spec"]["endpointSelector"] == named(documents, "NetworkPolicy")["api-server"]["spec"]["podSelector"]


def test_a_quota_bounds_the_studies_alone(rendered: Documents, tmp_path: Path) -> None:
    documents = with_component(tmp_path, "quota")
    [scope] = named(documents, "ResourceQuota")["studies"]["spec"]["scopeSelector"]["matchExpressions"]
    assert scope["scopeName"] == "PriorityClass"
    assert scope["values"] == list(named(documents, "PriorityClass"))


def test_workers_of_studies_alone_go_to_machines_that_may_be_taken_away(tmp_path: Path) -> None:
    documents = with_component(tmp_path, "spot")
    keys = {"cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"}
    found = {}
    for cluster in clusters(documents):
        for group in [cluster["headGroupSpec"] | {"groupName": "head"}, *cluster["workerGroupSpecs"]]:
            pod = group["template"]["spec"]
            tolerated = {each.get("key") for each in pod["tolerations"]}
            assert {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"} <= tolerated
            spot, cheap = keys <= tolerated, "nodeAffinity" in pod.get("affinity", {})
            found.setdefault(pod.get("priorityClassName"), set()).add((spot, cheap))
    assert found.pop("visage-study") == {(True, True)}
    assert set().union(*found.values()) == {(False, False)}


def test_a_vault_brings_the_secrets_that_the_page_makes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text().replace("\\\n", " ")
    made = {
        name: set(re.findall(r"--from-(?:literal|file)=([\w.-]+)=", words))
        for name, words in re.findall(r"kubectl create secret generic (visage-\S+)([^\n]*)", page)
    }
    brought = named(with_component(tmp_path, "external-secrets"), "ExternalSecret")
    assert {name: {each["secretKey"] for each in one["spec"]["data"]} for name, one in brought.items()} == made


@pytest.mark.slow
def test_nobody_reaches_the_page_of_studies_over_the_network(rendered: Documents, tmp_path: Path) -> None:
    documents = with_component(tmp_path, "study-page")
    found = reached(documents, rendered["jobs"])
    stores = "MLflow 5000; the endpoint's head 8000; the endpoint's workers 8000; outside 5432"
    assert found.pop("the page of studies") in (stores, stores.replace("the endpoint's head 8000; ", ""))
    assert not [name for name, told in found.items() if "the page of studies" in told]
    assert found == reached(rendered["overlays/production"], rendered["jobs"])
    [page] = [pod for pod in running(documents) if pod.name == "study-page"]
    [mlflow] = [pod for pod in running(documents) if pod.name == "mlflow"]
    [own], [other] = page.spec["containers"], mlflow.spec["containers"]
    assert page.spec["securityContext"] == mlflow.spec["securityContext"]
    assert (own["securityContext"], own["image"]) == (other["securityContext"], other["image"])
    program, command, *arguments = [*own["command"], *own["args"]]
    assert program == "visage"
    asked = typer.main.get_command(app).commands[command].make_context(command, arguments).params  # type: ignore[attr-defined]
    assert (asked["web"], asked["port"], asked["name"]) == (True, 5050, None)
    assert {OWN_ENDPOINT, PAGES, "OPTUNA_STORAGE", "PGPASSWORD"} <= variables(page).keys()
    if CHECK.is_file():
        done = subprocess.run([sys.executable, CHECK, overlay(tmp_path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_gateway_takes_the_place_of_the_ingress(rendered: Documents, tmp_path: Path) -> None:
    documents = with_component(tmp_path, "gateway")
    assert not named(documents, "Ingress")
    ingress = named(rendered["overlays/production"], "Ingress")["visage"]["spec"]
    gateway = named(documents, "Gateway")["visage"]["spec"]
    route = named(documents, "HTTPRoute")["visage"]["spec"]
    [host] = route["hostnames"]
    assert host == ingress["rules"][0]["host"]
    assert {each["hostname"] for each in gateway["listeners"]} == {host}
    [tls] = [each for each in gateway["listeners"] if each["name"] == route["parentRefs"][0]["sectionName"]]
    assert tls["tls"]["certificateRefs"] == [{"name": ingress["tls"][0]["secretName"]}]
    [rule] = route["rules"]
    service = named(documents, "RayService")["visage-endpoint"]["spec"]["serveService"]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}]
    longest = float(variables(endpoint(documents))["RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S"]["value"])
    assert float(rule["timeouts"]["request"].removesuffix("s")) > longest


def test_traces_go_to_the_collector_alone(rendered: Documents, tmp_path: Path) -> None:
    documents, before = with_component(tmp_path, "traces"), rendered["overlays/production"]
    told, was = (named(each, "ConfigMap")["visage"]["data"] for each in (documents, before))
    more = {name: value for name, value in told.items() if name not in was}
    assert all(name.startswith("OTEL_") for name in more)
    url = urllib.parse.urlsplit(more["OTEL_EXPORTER_OTLP_ENDPOINT"])
    [way] = named(documents, "NetworkPolicy")["traces"]["spec"]["egress"]
    home = (url.hostname or "").split(".")[1]
    assert way["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": home}}}]
    assert [each["port"] for each in way["ports"]] == [url.port]
    assert reached(documents, rendered["jobs"]) == reached(before, rendered["jobs"])
    senders = {pod.name for pod in running(documents) if "configMapRef" in str(pod.spec)}
    selector = named(documents, "NetworkPolicy")["traces"]["spec"]["podSelector"]
    assert senders == {pod.name for pod in running(documents) if selects(selector, pod.labels)}
    assert not any("OTEL_" in str(each) for each in rendered["overlays/production"])


@pytest.mark.slow
def test_mlflow_tells_the_endpoint_and_nobody_else(rendered: Documents, tmp_path: Path) -> None:
    documents, before = with_component(tmp_path, "webhook"), rendered["overlays/production"]
    found, was = (reached(each, rendered["jobs"]) for each in (documents, before))
    assert found.pop("MLflow") == f"the endpoint's workers {URL.port}; {was.pop('MLflow')}"
    assert found == was
    [mlflow] = [pod for pod in running(documents) if pod.name == "mlflow"]
    told, knows = (variables(pod) for pod in (mlflow, endpoint(documents)))
    assert {each: told[each]["value"] for each in told if each.startswith("MLFLOW_WEBHOOK_ALLOW")} == {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": URL.scheme,
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    }
    page = (ROOT / "docs" / "kubernetes.md").read_text().replace("\\\n", " ")
    [words] = re.findall(r"kubectl create secret generic visage-webhook ([^\n]*)", page)
    refs = [told["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"], knows[SECRET]]
    keys = {each["valueFrom"]["secretKeyRef"]["key"] for each in refs}
    assert keys == set(re.findall(r"--from-literal=([\w-]+)=", words))
    assert f"`{URL.geturl()}`" in page
    service = named(documents, "RayService")["visage-endpoint"]["spec"]["serveService"]
    assert (service["metadata"]["name"], service["spec"]["ports"][0]["port"]) == (URL.hostname, URL.port)
    assert not any("WEBHOOK" in str(each) for each in before)
    if CHECK.is_file():
        done = subprocess.run([sys.executable, CHECK, overlay(tmp_path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_queued_study_is_one_that_kueue_lets_in(rendered: Documents, tmp_path: Path) -> None:
    """By Kueue's page on RayJobs: no webhook of it has seen this."""

    def amount(quantity: Any) -> float:
        found = re.fullmatch(r"(\d+)(m|Mi|Gi)?", str(quantity))
        assert found, quantity
        return int(found[1]) * {None: 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}[found[2]]

    shutil.copytree(ROOT / "k8s", tmp_path / "k8s", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    above = tmp_path / "k8s" / "overlays" / "queued"
    above.mkdir()
    component = ROOT / "k8s" / "components" / "kueue" / "kustomization.yaml"
    lines = re.findall(r"^#   (resources: .*|components: .*)$", component.read_text(), re.MULTILINE)
    kind = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization"]
    (above / "kustomization.yaml").write_text("\n".join([*kind, *lines]))
    done = subprocess.run(["kubectl", "kustomize", above], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    documents = list(yaml.safe_load_all(done.stdout))
    [job], [cluster] = named(documents, "RayJob").values(), named(documents, "RayCluster").values()
    spec, standing = job["spec"], cluster["spec"]
    own = spec["rayClusterSpec"]
    assert spec["suspend"] is spec["shutdownAfterJobFinishes"] is True
    assert "clusterSelector" not in spec
    assert "enableInTreeAutoscaling" not in own
    [group] = own["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"]
    # Its pods are those of the jobs' cluster, and so are the policies that hold for them.
    assert own["headGroupSpec"] == standing["headGroupSpec"]
    assert group["template"] in [each["template"] for each in standing["workerGroupSpecs"]]
    assert {name: own[name] for name in ("rayVersion", "authOptions")} == {
        name: standing[name] for name in ("rayVersion", "authOptions")
    }
    # From its label to the machines by names, and whatever a pod asks for has a quota, in which one study fits.
    local = named(documents, "LocalQueue")[job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]]
    assert local["metadata"]["namespace"] == job["metadata"]["namespace"]
    queue = named(documents, "ClusterQueue")[local["spec"]["clusterQueue"]]
    assert not any("namespace" in each["metadata"] for each in named(documents, "ClusterQueue").values())
    assert queue["spec"]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "visage"}}
    [covered] = queue["spec"]["resourceGroups"]
    [flavor] = covered["flavors"]
    assert flavor["name"] in named(documents, "ResourceFlavor")
    quota = {each["name"]: amount(each["nominalQuota"]) for each in flavor["resources"]}
    assert set(quota) == set(covered["coveredResources"])
    asked: dict[str, float] = {}
    submitter = spec["submitterPodTemplate"]
    for count, template in (
        (1, own["headGroupSpec"]["template"]),
        (group["replicas"], group["template"]),
        (1, submitter),
    ):
        for container in template["spec"]["containers"]:
            # What a container is bound to and does not ask for, it asks for as much of.
            needs = container["resources"]["limits"] | container["resources"]["requests"]
            for name, value in needs.items():
                asked[name] = asked.get(name, 0) + count * amount(value)
    assert set(asked) <= set(quota)
    assert all(asked[name] <= quota[name] for name in asked)
    if CHECK.is_file():  # which knows KubeRay's schemas and not Kueue's
        said = subprocess.run([sys.executable, CHECK, above], capture_output=True, text=True).stdout
        *faults, total = said.splitlines()
        assert "documents" in total
        assert {line.split()[1].partition("/")[0] for line in faults} == {
            "ClusterQueue",
            "LocalQueue",
            "ResourceFlavor",
        }


def test_an_image_may_be_named_by_its_digest(tmp_path: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    file = tmp_path / "k8s" / "overlays" / "gpu" / "kustomization.yaml"
    own = yaml.safe_load(file.read_text())
    page = (ROOT / "docs" / "kubernetes.md").read_text().partition("## Digests")[2].partition("\n## ")[0]
    own["images"] = yaml.safe_load(
        page[page.index("    images:") :].partition("\n\n")[0].replace("sha256:...", digest)
    )["images"]
    file.write_text(yaml.safe_dump(own, sort_keys=False))
    done = subprocess.run(["kubectl", "kustomize", file.parent], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    images = re.findall(r"image: (\S+)", done.stdout)
    assert len(set(images)) == 4  # both of Visage have one name here, and one digest
    assert {image.partition("@")[2] for image in images} == {digest}
    assert len({each["name"] for each in own["images"]}) == 5
