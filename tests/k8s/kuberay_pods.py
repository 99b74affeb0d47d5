"""The pods that KubeRay 1.7 makes of the manifests, as its source (`controllers/ray/common`) and its CRDs say."""

import copy
import json
from typing import Any

import yaml

SHELL = ["/bin/bash", "-c", "--"]
DOMAIN = "visage.svc.cluster.local"
GCS, DASHBOARD, AGENT = 6379, 8265, 52365
Pod = dict[str, Any]


def service(cluster: str) -> str:
    """The name by which the nodes of a cluster find its head."""
    return f"{cluster}-head-svc.{DOMAIN}"


def secret(name: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": source}}


def plain(name: str, value: object) -> dict[str, Any]:
    return {"name": name, "value": str(value)}


def field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def start(head: bool, given: dict[str, str], resources: dict[str, Any], address: str) -> str:
    """The command `ray start`, as it is made of rayStartParams and of what the container may have."""
    words = {"metrics-export-port": "8080", "block": "true", "dashboard-agent-listen-port": str(AGENT), **given}
    if not head:
        words.setdefault("address", address)
    words.setdefault("num-cpus", str(whole(resources["requests"]["cpu"])))
    words.setdefault("memory", str(octets(resources["limits"]["memory"])))
    flags = [f"--{key}" if value == "true" else f"--{key}={value}" for key, value in sorted(words.items())]
    return " ".join(["ray start", *(["--head"] if head else []), *flags])


def whole(quantity: str) -> int:
    """CPUs, rounded up."""
    return -(-int(quantity[:-1]) // 1000) if quantity.endswith("m") else int(quantity)


def octets(quantity: str) -> int:
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]]


def group(document: dict[str, Any], name: str | None, suffix: str) -> Pod:
    """A pod of a group of a RayCluster or RayService; name None: the head's."""
    service_of = document["kind"] == "RayService"
    cluster = document["metadata"]["name"]
    spec = document["spec"]["rayClusterConfig"] if service_of else document["spec"]
    head = name is None
    one = (
        spec["headGroupSpec"] if head else next(each for each in spec["workerGroupSpecs"] if each["groupName"] == name)
    )
    template = copy.deepcopy(one["template"])
    given = dict(one["rayStartParams"])
    container = template["spec"]["containers"][0]
    asked = copy.deepcopy(container)
    address = f"{service(cluster)}:{GCS}"
    kept = spec["gcsFaultToleranceOptions"]
    token = [
        plain("RAY_AUTH_MODE", "token"),
        secret("RAY_AUTH_TOKEN", {"name": spec["authOptions"]["secretName"], "key": "auth_token"}),
    ]
    env: list[dict[str, Any]] = container.setdefault("env", [])
    env += token
    if head:
        given |= {"no-monitor": "true", "redis-password": "$REDIS_PASSWORD"}
        env += [
            plain("RAY_enable_autoscaler_v2", "true"),
            plain("RAY_external_storage_namespace", f"uid-of-{cluster}"),
            plain("RAY_REDIS_ADDRESS", kept["redisAddress"]),
            {"name": "REDIS_PASSWORD", **kept["redisPassword"]},
        ]
    else:
        env += [
            plain("RAY_gcs_rpc_server_reconnect_timeout_s", 600),
            plain("FQ_RAY_IP", service(cluster)),
            plain("RAY_IP", service(cluster).partition(".")[0]),
        ]
    command = start(head, given, container["resources"], address)
    env += [
        field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        field("RAY_CLOUD_INSTANCE_ID", "metadata.name"),
        field("RAY_NODE_TYPE_NAME", "metadata.labels['ray.io/group']"),
        plain("KUBERAY_GEN_RAY_START_CMD", command),
        plain("RAY_PORT", GCS),
        plain("RAY_ADDRESS", f"127.0.0.1:{GCS}" if head else address),
        plain("RAY_USAGE_STATS_KUBERAY_IN_USE", 1),
        plain("RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE", 1),
    ]
    if service_of:
        env += [
            plain("RAY_timeout_ms_task_wait_for_death_info", 0),
            plain("RAY_gcs_server_request_timeout_seconds", 5),
            plain("RAY_SERVE_KV_TIMEOUT_S", 5),
        ]
    container |= {"command": SHELL, "args": [f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {command}"]}
    alive = {"httpGet": {"path": "/api/healthz", "port": AGENT}}
    container["livenessProbe"] = alive | {"failureThreshold": 120, "periodSeconds": 5}
    container["readinessProbe"] = alive | {"failureThreshold": 10, "periodSeconds": 5}
    if service_of and not head:
        [port] = [each["containerPort"] for each in container["ports"] if each["name"] == "serve"]
        probe = "wget --tries 1 -T {} -q -O- http://localhost:{}/{} | grep success"
        both = " && ".join((probe.format(2, AGENT, "api/local_raylet_healthz"), probe.format(10, port, "-/healthz")))
        container["readinessProbe"] = {"exec": {"command": ["bash", "-c", both]}, "periodSeconds": 5}
    if not head:
        wait = f"until ray health-check --address {address} > /dev/null 2>&1; do sleep 5; done"
        own = {key: asked[key] for key in ("image", "securityContext", "volumeMounts")}
        first = own | {"name": "wait-gcs-ready", "command": SHELL, "args": [wait], "env": asked.get("env", []) + token}
        first["resources"] = {kind: {"cpu": "200m", "memory": "256Mi"} for kind in ("requests", "limits")}
        template["spec"].setdefault("initContainers", []).append(first)
    labels = {
        "ray.io/cluster": cluster,
        "ray.io/group": name or "headgroup",
        "ray.io/node-type": "head" if head else "worker",
        **template["metadata"]["labels"],
    }
    return {"name": f"{cluster}-{name or 'head'}-{suffix}", "labels": labels, "spec": template["spec"]}


def submitter(job: dict[str, Any], cluster: str, number: str) -> Pod:
    """The pod by which a RayJob is submitted, and waits for its end."""
    spec = job["spec"]
    template = copy.deepcopy(spec["submitterPodTemplate"])
    at = f"http://{service(cluster)}:{DASHBOARD}"
    environment = json.dumps(yaml.safe_load(spec["runtimeEnvYAML"]))
    healthy = f"import urllib.request as u; assert b'success' in u.urlopen('{at}/api/gcs_healthz', timeout=5).read()"
    submit = f"ray job submit --address {at} --no-wait --runtime-env-json {json.dumps(environment)} "
    submit += f"--submission-id {number} --entrypoint-num-cpus {spec['entrypointNumCpus']:f} -- {spec['entrypoint']}"
    command = f'until python -c "{healthy}" > /dev/null 2>&1 ; do sleep 2 ; done ; '
    command += f"if ! ray job status --address {at} {number} >/dev/null 2>&1 ; then {submit} ; fi ; "
    command += f"ray job logs --address {at} --follow {number}"
    container = template["spec"]["containers"][0]
    container |= {"command": SHELL, "args": [command]}
    container["env"] += [plain("PYTHONUNBUFFERED", 1), plain("RAY_DASHBOARD_ADDRESS", at)]
    container["env"].append(plain("RAY_JOB_SUBMISSION_ID", number))
    return {
        "name": f"{job['metadata']['name']}-{number}",
        "labels": template["metadata"]["labels"],
        "spec": template["spec"],
    }
