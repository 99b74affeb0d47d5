"""What KubeRay makes of the manifests, as its source says: names it takes, what it gives the pods."""

import yaml

from tests.k8s.documents import DEPLOYED, Documents, all_pods, named


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
        budgets = named(rendered[folder], "PodDisruptionBudget")
        for name in ("endpoint", "heads"):
            assert isinstance(budgets[name]["spec"]["minAvailable"], int), f"{folder}: {name}"
        # The endpoint's next cluster has a head besides the two that are there.
        assert budgets["heads"]["spec"]["minAvailable"] >= 3


def test_mlflow_alone_reaches_a_store_of_objects_outside(rendered: Documents) -> None:
    for folder in DEPLOYED:
        for name, policy in named(rendered[folder], "NetworkPolicy").items():
            for rule in policy["spec"].get("egress", ()):
                if any("ipBlock" in peer for peer in rule["to"]) and name != "api-server":
                    ports = {port["port"] for port in rule["ports"]}
                    only = {"matchLabels": {"app.kubernetes.io/name": "mlflow"}}
                    assert ports == {5432} or policy["spec"]["podSelector"] == only, f"{folder}: {name}"
