"""What KubeRay makes of the manifests, as its source says: names it takes, what it gives the pods."""

from pathlib import Path

import pytest
import yaml

from tests.k8s import kuberay_pods
from tests.k8s.documents import DEPLOYED, Documents, all_pods, named, pods, running, selects


def test_no_account_has_the_name_that_kuberay_gives_an_autoscalers(rendered: Documents) -> None:
    for folder in DEPLOYED:
        clusters, accounts = named(rendered[folder], "RayCluster"), named(rendered[folder], "ServiceAccount")
        assert not clusters.keys() & accounts.keys(), folder
    for where, pod in all_pods(rendered):
        if "headGroupSpec" in where:
            assert "serviceAccountName" not in pod, where
        else:
            assert pod["serviceAccountName"] in named(rendered["base"], "ServiceAccount"), where
            assert pod["automountServiceAccountToken"] is False, where


def test_the_way_to_the_endpoint_has_the_name_that_kuberay_looks_for(rendered: Documents) -> None:
    for folder in DEPLOYED:
        service = named(rendered[folder], "RayService")["visage-endpoint"]["spec"]
        [port] = service["serveService"]["spec"]["ports"]
        listens = yaml.safe_load(service["serveConfigV2"])["http_options"]["port"]
        assert (port["name"], port["port"]) == ("serve", listens)
        worker = service["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
        assert {"name": "serve", "containerPort": listens} in worker["ports"]
    [rule] = named(rendered["overlays/production"], "Ingress")["visage"]["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "visage-endpoint", "port": {"name": "serve"}}


def test_rays_objects_fit_into_shared_memory(rendered: Documents) -> None:
    units = {"Mi": 2**20, "Gi": 2**30}
    for folder in DEPLOYED:
        service = named(rendered[folder], "RayService")["visage-endpoint"]["spec"]["rayClusterConfig"]
        for cluster in (named(rendered[folder], "RayCluster")["visage"]["spec"], service):
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
                shm = volumes["shm"]["emptyDir"]["sizeLimit"]
                room = int(shm[:-2]) * units[shm[-2:]]
                assert 0 < int(group["rayStartParams"]["object-store-memory"]) <= room, folder


def test_budgets_of_ray_pods_count_pods(rendered: Documents) -> None:
    """A RayCluster has no scale, which a share or maxUnavailable is reckoned from."""
    for folder in DEPLOYED:
        for name, budget in named(rendered[folder], "PodDisruptionBudget").items():
            if name != "stores":
                assert isinstance(budget["spec"]["minAvailable"], int), f"{folder}: {name}"


def test_budgets_ask_for_no_more_pods_than_there_are(rendered: Documents) -> None:
    """One that asks for more alarms for ever, and holds every upgrade of a machine up."""
    for folder in DEPLOYED:
        there = running(rendered[folder])
        # During an upgrade the endpoint has two heads; none of them may be what a budget waits for.
        heads = {pod.name for pod in there if pod.labels.get("ray.io/node-type") == "head"}
        for name, budget in named(rendered[folder], "PodDisruptionBudget").items():
            taken = [pod for pod in there if selects(budget["spec"]["selector"], pod.labels)]
            count = sum(pod.count for pod in taken)
            wanted = budget["spec"].get("minAvailable", count)
            assert 0 < wanted <= count, f"{folder}: {name}"
            bounded = {pod.name for pod in taken} & heads
            assert bounded == ({"visage headgroup"} if name == "head" else set()), f"{folder}: {name}"


def test_services_select_pods_by_the_labels_that_these_have_in_the_end(rendered: Documents) -> None:
    for folder in DEPLOYED:
        there = running(rendered[folder])
        for name, service in named(rendered[folder], "Service").items():
            taken = [pod.name for pod in there if service["spec"]["selector"].items() <= pod.labels.items()]
            assert taken == [name], folder
        # What KubeRay selects a head by for its own services; for a RayService it looks at no label of the template.
        for cluster in ("visage", "visage-endpoint"):
            own = {
                "ray.io/cluster": cluster,
                "ray.io/node-type": "head",
                "ray.io/identifier": f"{cluster}-head",
                "app.kubernetes.io/name": "kuberay",
                "app.kubernetes.io/created-by": "kuberay-operator",
            }
            assert [pod.name for pod in there if own.items() <= pod.labels.items()] == [f"{cluster} headgroup"], folder


def test_a_drained_machine_takes_one_of_the_endpoints_nodes_and_another_answers(rendered: Documents) -> None:
    for folder in DEPLOYED:
        budget = named(rendered[folder], "PodDisruptionBudget").get("endpoint")
        assert bool(budget) == (folder == "overlays/production")
        if budget:
            service = named(rendered[folder], "RayService")["visage-endpoint"]["spec"]
            [group] = service["rayClusterConfig"]["workerGroupSpecs"]
            assert budget["spec"]["selector"]["matchLabels"].items() <= group["template"]["metadata"]["labels"].items()
            assert 1 <= budget["spec"]["minAvailable"] < group["minReplicas"]
            # And the other one has a replica: all of them do not fit on one.
            replicas = yaml.safe_load(service["serveConfigV2"])["applications"][0]["args"]["replicas"]
            gpus = group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
            assert replicas["min"] * replicas["num_gpus"] > gpus


def test_names_are_asked_of_the_cluster_and_of_its_nodes(rendered: Documents) -> None:
    for folder in DEPLOYED:
        policies = named(rendered[folder], "NetworkPolicy")
        [rule] = policies["dns"]["spec"]["egress"]
        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]
        assert any("namespaceSelector" in peer for peer in rule["to"])


def test_all_of_ipv4_is_never_named_without_all_of_ipv6(rendered: Documents) -> None:
    seen = 0
    for folder in DEPLOYED:
        for name, policy in named(rendered[folder], "NetworkPolicy").items():
            for rule in policy["spec"].get("egress", ()):
                blocks = {peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer}
                assert ("0.0.0.0/0" in blocks) == ("::/0" in blocks), f"{folder}: {name}"
                seen += "::/0" in blocks
    assert seen >= 6


def test_the_endpoint_reads_its_keys_where_the_secret_is_mounted(rendered: Documents) -> None:
    """As a folder, which the kubelet follows; a variable, and a file by its subPath, stay what they were."""
    for folder in DEPLOYED:
        service = named(rendered[folder], "RayService")["visage-endpoint"]["spec"]
        path = Path(yaml.safe_load(service["serveConfigV2"])["applications"][0]["args"]["access"]["keys"])
        for where, pod in pods(service):
            [volume] = [each for each in pod["volumes"] if each.get("secret", {}).get("secretName") == "visage-keys"]
            assert [item["path"] for item in volume["secret"]["items"]] == [path.name], where
            [container] = pod["containers"]
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert mounts[str(path.parent)] == {"name": volume["name"], "mountPath": str(path.parent), "readOnly": True}
            assert volume["secret"]["defaultMode"] == 0o440
            assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]
            assert "VISAGE_KEYS" not in [variable["name"] for variable in container["env"]], where


def test_only_who_has_keys_reaches_a_store_of_objects_outside(rendered: Documents) -> None:
    """MLflow's server, and the jobs' nodes where they share a bucket."""
    for folder in DEPLOYED:
        sharing = "VISAGE_STORAGE" in named(rendered[folder], "ConfigMap")["visage"]["data"]
        holders = {"mlflow"} | ({"visage headgroup", "visage cpu", "visage gpu"} if sharing else set())
        there = running(rendered[folder])
        for name, policy in named(rendered[folder], "NetworkPolicy").items():
            for rule in policy["spec"].get("egress", ()):
                if any("ipBlock" in peer for peer in rule["to"]) and name not in ("api-server", "dns"):
                    reach = {pod.name for pod in there if selects(policy["spec"]["podSelector"], pod.labels)}
                    if 443 in {port["port"] for port in rule["ports"]}:
                        assert reach <= holders, f"{folder}: {name}"


@pytest.mark.slow  # it imports Ray
def test_ray_knows_every_option_that_its_nodes_are_started_with(rendered: Documents) -> None:
    from ray.scripts.scripts import start

    known = {option for each in start.params for option in each.opts}
    seen = set()
    for folder in DEPLOYED:
        for document in (
            *named(rendered[folder], "RayCluster").values(),
            *named(rendered[folder], "RayService").values(),
        ):
            spec = document["spec"].get("rayClusterConfig", document["spec"])
            for name in (None, *(each["groupName"] for each in spec["workerGroupSpecs"])):
                [command] = kuberay_pods.group(document, name, "a")["spec"]["containers"][0]["args"]
                given = {word.partition("=")[0] for word in command.split() if word.startswith("--")}
                assert given <= known, f"{folder}: {name}"
                seen |= given
    assert {"--head", "--address", "--num-cpus", "--num-gpus", "--memory", "--object-store-memory"} <= seen
