"""The pods of overlay `local` as containers: all of them up, a study, a champion that is queried, and what fails.

What runs is what the manifests say and KubeRay makes of it. Missing are the API server, KubeRay's operator and the
autoscalers, whose part the tests take; PostgreSQL, Redis and SeaweedFS are Debian's and the package index's.
"""

import json
import re
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from test_cli import ROOT, visage

from k8s.image import debian, podman
from serve_app.api_keys import make_key
from tests.k8s.documents import Documents, named
from tests.k8s.kubelet import Ended, Image, Machine, Running, until
from tests.k8s.kuberay_pods import DASHBOARD, DOMAIN, group, service, submitter

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

MIB = 2**20
SHARE = 0.8  # of its limit, that a pod's working set stays below
HEADS = 3  # that are made in the place of one
LONGEST_LOAD = 900.0  # seconds, also where a test fails before it ends its callers
SMALL = {
    "data.dir": "runs/faces",
    "data.size": "32",
    "data.people": "120",
    "data.pictures": "1",
    "data.expressions": "[neutral,happy,surprise]",
    "method.width": "8",
    "method.discriminator_width": "8",
    "train.batch": "8",
    "train.evaluate_pairs": "16",
    "judge.images": "2000",
    "judge.bootstrap": "200",
    "search.trials": "3",
    "search.scheduler": "none",
    "search.final": "{}",
}


def stateful(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The pod of a StatefulSet or Deployment of one."""
    spec = named(documents, kind)[name]["spec"]
    template = spec["template"]
    claims = spec.get("volumeClaimTemplates", [])
    return {"name": f"{name}-0", "labels": template["metadata"]["labels"], "spec": template["spec"], "claims": claims}


class Cluster:
    """The pods, and somebody with a checkout who reaches them by `kubectl port-forward`."""

    def __init__(self, machine: Machine, documents: list[dict[str, Any]], folder: Path) -> None:
        self.machine, self.documents, self.folder = machine, documents, folder
        self.key, line = make_key("test", None)
        password, access, key = (secrets.token_hex(16) for _ in range(3))
        identity = {"name": "mlflow", "credentials": [{"accessKey": access, "secretKey": key}]}
        identity["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
        machine.secrets |= {
            "visage-ray": {"auth_token": secrets.token_hex(32)},
            "visage-endpoint-ray": {"auth_token": secrets.token_hex(32)},
            "visage-redis": {"password": secrets.token_hex(32)},
            "visage-postgres": {"password": password},
            "visage-objects": {
                "access-key": access,
                "secret-key": key,
                "s3.json": json.dumps({"identities": [identity]}),
            },
            "visage-keys": {"keys": f"{line}\n"},
        }
        self.jobs = named(documents, "RayCluster")["visage"]
        self.service = named(documents, "RayService")["visage-endpoint"]
        self.ready: dict[str, float] = {}

    def store(self, kind: str, name: str) -> Running:
        pod = self.machine.start(stateful(self.documents, kind, name), f"{name}.{DOMAIN}").ready()
        self.ready[pod.name] = pod.ready_after
        return pod

    def node(self, document: dict[str, Any], name: str | None, suffix: str) -> Running:
        leads = service(document["metadata"]["name"]) if name is None else None
        return self.machine.start(group(document, name, suffix), leads)

    def bearer(self, secret: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.machine.secrets[secret]['auth_token']}"}

    def get(self, url: str, **words: Any) -> httpx.Response | None:
        try:
            return self.machine.here(httpx.get, url, timeout=30, **words)
        except httpx.HTTPError:
            return None

    def deploy(self, head: Running) -> None:
        """serveConfigV2, as KubeRay sends it."""
        config = yaml.safe_load(self.service["spec"]["serveConfigV2"])
        url = f"http://{head.address}:{DASHBOARD}/api/serve/applications/"
        sent = self.machine.here(httpx.put, url, json=config, headers=self.bearer("visage-endpoint-ray"), timeout=60)
        assert sent.status_code == 200, sent.text

    def visage(self, *arguments: str, seconds: float = 1500) -> subprocess.CompletedProcess[str]:
        variables = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.machine.secrets["visage-ray"]["auth_token"],
            "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8265",
            "MLFLOW_TRACKING_URI": "http://localhost:5000",
        }
        return self.machine.here(visage, *arguments, folder=self.folder, seconds=seconds, **variables)

    def study(self, name: str, images: int, every: int) -> list[str]:
        """What is given to `visage submit` for a small one."""
        given = SMALL | {"search.name": name, "train.images": str(images), "train.evaluate_every": str(every)}
        return ["tune", "configs/synthetic_search.yaml", *(f"--set={key}={value}" for key, value in given.items())]

    def state(self, job: str) -> str:
        return self.visage("jobs", "status", job).stdout.partition(": ")[2].partition(",")[0]

    def trials(self, study: str) -> int:
        """How many it began."""
        asked = f"SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE study_name = '{study}'"
        command = ("psql", "--username=visage", "--dbname=optuna", "--tuples-only", f"--command={asked}")
        done = self.machine.pods["postgres-0"].exec(*command, check=False)
        return int(done.stdout) if not done.returncode else 0  # before the first study there are no tables

    def expressions(self, pod: Running, picture: bytes, **form: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", "Accept": "image/png"}
        url = f"http://{pod.address}:8000/v1/expressions"
        return httpx.post(url, files={"image": picture}, data=form, headers=headers, timeout=60)

    def note(self, line: str) -> None:
        self.machine.log.append(line)
        print(line, flush=True)

    def memory(self, when: str) -> None:
        """Note what each pod works with; fails where one is too near to its limit."""
        over = []
        for name, pod in sorted(self.machine.pods.items()):
            now, most = pod.memory(), max(pod.peak, pod.memory())
            self.note(
                f"| {when} | {name} | {now // MIB} | {most // MIB} | {pod.limit // MIB} | {most / pod.limit:.0%} |"
            )
            if most > SHARE * pod.limit:
                over.append(name)
        assert not over, over


@pytest.fixture(scope="module")
def cluster(image: str, rendered: Documents, open_folder: Path) -> Iterator[Cluster]:
    weed = Path(sys.executable).with_name("weed")
    stores = debian(podman(), "postgresql", "redis-server", name="localhost/visage-stores:bookworm")
    script = Path(__file__).with_name("standins") / "postgres.sh"
    images = {
        "visage": Image(image, ("--passwd=false",)),
        "postgres": Image(stores, (f"--volume={script}:/begin:ro",), ("bash", "/begin")),
        "redis": Image(stores),
        "seaweedfs": Image(stores, (f"--volume={weed}:/usr/bin/weed:ro",)),
    }
    documents = [*rendered["overlays/local"], *rendered["jobs"]]
    machine = Machine(open_folder, documents, images)
    try:
        made = Cluster(machine, documents, ROOT)
        for kind, name in (
            ("StatefulSet", "postgres"),
            ("StatefulSet", "redis"),
            ("StatefulSet", "objects"),
            ("Deployment", "mlflow"),
        ):
            made.store(kind, name)
        heads = made.node(made.jobs, None, "a"), made.node(made.service, None, "a")
        for head in heads:
            head.ready()
        machine.forward(8265, heads[0], DASHBOARD)
        machine.forward(5000, machine.pods["mlflow-0"], 5000)
        made.deploy(heads[1])
        pods = [*heads, made.node(made.service, "replicas", "a").ready()]
        made.ready |= {pod.name: pod.ready_after for pod in pods}
        yield made
    finally:
        (ROOT / "runs").mkdir(exist_ok=True)
        (ROOT / "runs" / "pods.log").write_text("\n".join([*machine.log, ""]))
        machine.close()


def test_all_are_alive_and_have_room_at_rest(cluster: Cluster) -> None:
    time.sleep(30)
    for name, pod in cluster.machine.pods.items():
        until(lambda pod=pod: pod.probe("liveness"), 60, f"{name} alive")  # one probe may be slow on a busy machine
        cluster.note(f"{name}: ready after {cluster.ready[name]:.0f} s")
    cluster.memory("at rest")


@pytest.fixture(scope="module")
def workers(cluster: Cluster) -> list[Running]:
    """What the autoscaler makes for a study: a node for its driver, one for a trial."""
    made = [cluster.node(cluster.jobs, "cpu", suffix) for suffix in "ab"]
    for pod in made:
        cluster.note(f"{pod.name}: ready after {pod.ready().ready_after:.0f} s")
    return made


@pytest.fixture(scope="module")
def champion(cluster: Cluster, workers: list[Running]) -> str:
    """By the RayJob of k8s/jobs, made small; `visage submit` of the same study finds it done."""
    job = named(cluster.documents, "RayJob")["tune-synthetic"]
    _, config, *given = cluster.study("first", images=64, every=32)
    assert config in job["spec"]["entrypoint"]
    small = f"{job['spec']['entrypoint']} {shlex.join(given)}"
    pod = submitter(job | {"spec": job["spec"] | {"entrypoint": small}}, "visage", "first")
    began = time.monotonic()
    sent = cluster.machine.start(pod)
    until(lambda: not sent.runs(), 1800, "the submitter's end")
    cluster.note(f"RayJob: {time.monotonic() - began:.0f} s")
    said = sent.logs()
    assert "Traceback" not in said, said
    cluster.note(
        f"| the RayJob | {sent.name} | 0 | {sent.peak // MIB} | {sent.limit // MIB} | {sent.peak / sent.limit:.0%} |"
    )
    assert sent.peak < SHARE * sent.limit
    sent.remove()
    registered = re.search(r"registered as (visage-ucgan/\d+)", said)
    assert registered, said
    again = cluster.visage("submit", *cluster.study("first", images=64, every=32), "--image", "--wait")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"is registered as {registered[1]} already" in again.stdout
    assert registered[1] in cluster.visage("models").stdout
    if f"{registered[1]} is now champion" not in said:  # so few steps may teach too little for the gate
        forced = cluster.visage("promote", registered[1], "--force")
        assert f"{registered[1]} is now champion" in forced.stdout, forced.stdout + forced.stderr
    return registered[1]


def test_a_study_leaves_all_of_them_room(cluster: Cluster, champion: str) -> None:
    cluster.memory("after a study")


def answering(cluster: Cluster) -> Running:
    """The endpoint's pod, when it answers with the champion."""
    [pod] = [pod for name, pod in cluster.machine.pods.items() if name.startswith("visage-endpoint-replicas")]
    bearer = {"Authorization": f"Bearer {cluster.key}"}

    def answers() -> bool:
        found = cluster.get(f"http://{pod.address}:8000/v1/model", headers=bearer)
        return found is not None and found.status_code == 200

    until(answers, 300, "the endpoint's model")
    return pod


@pytest.fixture
def face(cluster: Cluster) -> bytes:
    """One of the faces that the study made."""
    found = next((cluster.machine.folder / "volumes" / "visage-shared").rglob("*_neutral*.png"))
    return found.read_bytes()


def test_a_photograph_goes_in_and_a_picture_comes_out(cluster: Cluster, champion: str, london: Path) -> None:
    pod = answering(cluster)
    model = cluster.get(f"http://{pod.address}:8000/v1/model", headers={"Authorization": f"Bearer {cluster.key}"})
    assert model is not None
    assert f"{model.json()['name']}/{model.json()['version']}" == champion
    without = cluster.get(f"http://{pod.address}:8000/v1/model")
    assert without is not None
    assert without.status_code == 401
    photograph = next(london.rglob("*.jpg")).read_bytes()
    answer = cluster.machine.here(cluster.expressions, pod, photograph, expression="happy")
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"\x89PNG")
    (ROOT / "runs" / "pods.png").write_bytes(answer.content)


class Load:
    """Callers of an endpoint's pod, each with one request after the other, until they are told to end."""

    def __init__(self, cluster: Cluster, pod: Running, face: bytes, callers: int = 4) -> None:
        self.seen: list[tuple[float, int]] = []  # when it was answered, and how; 0: not at all
        self.over = threading.Event()

        last = time.monotonic() + LONGEST_LOAD

        def ask() -> None:
            while not self.over.is_set() and time.monotonic() < last:
                try:
                    status = cluster.expressions(pod, face, expression="happy", aligned="true").status_code
                except httpx.HTTPError:
                    status = 0
                self.seen.append((time.monotonic(), status))
                time.sleep(0.1)

        self.callers = [cluster.machine.inside.submit(ask) for _ in range(callers)]

    def answers(self, since: float = 0) -> Counter[int]:
        return Counter(status for at, status in self.seen if at > since)

    def end(self) -> Counter[int]:
        self.over.set()
        for caller in self.callers:
            caller.result()
        return self.answers()

    @property
    def gap(self) -> float:
        """Seconds from the first answer that was none of the model's to the next that was."""
        bad = [at for at, status in self.seen if status != 200]
        good = [at for at, status in self.seen if status == 200 and bad and at > bad[-1]]
        return good[0] - bad[0] if bad else 0.0


def test_a_node_of_the_endpoint_that_ends_loses_no_request(cluster: Cluster, champion: str, face: bytes) -> None:
    """Callers who have not yet heard of it go on while its hook sleeps; then it has nothing left to answer."""
    pod = answering(cluster)
    hook = pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    load = Load(cluster, pod, face)
    time.sleep(5)
    ends = cluster.machine.inside.submit(pod.delete)
    began = time.monotonic()
    new = cluster.node(cluster.service, "replicas", "b")  # as KubeRay makes one in its place at once
    time.sleep(max(0, hook - 5 - (time.monotonic() - began)))
    seen = load.end()
    ends.result()
    cluster.note(
        f"endpoint's node ends: {dict(seen)} while its hook slept, {time.monotonic() - began:.0f} s to its end"
    )
    assert seen.keys() == {200}
    assert seen[200] > 20
    new.ready()
    answering(cluster)
    cluster.note(f"endpoint: answers from the new node {time.monotonic() - began - hook:.0f} s after SIGTERM")


def renewed(cluster: Cluster, document: dict[str, Any], suffix: str) -> Running:
    """A head in the place of one that died, as KubeRay makes it; and one more, where it ends in its start, as Ray does
    on a busy machine that has no raylet for it within 30 s."""
    name = document["metadata"]["name"]
    for number in range(HEADS):
        for pod in [pod for each, pod in cluster.machine.pods.items() if each.startswith(f"{name}-head-")]:
            pod.remove()
        head = cluster.node(document, None, f"{suffix}{number or ''}")
        try:
            head.ready()
        except Ended as ended:
            cluster.note(str(ended).partition(":")[0] + ": ended before it was ready")
            if number == HEADS - 1:
                raise
        else:
            break
    cluster.note(f"{head.name}: ready after {head.ready_after:.0f} s")
    if document is cluster.jobs:
        cluster.machine.forward(8265, head, DASHBOARD)
    return head


def alive(cluster: Cluster, head: Running, secret: str) -> Callable[[], bool]:
    def all_there() -> bool:
        found = cluster.get(f"http://{head.address}:{DASHBOARD}/api/v0/nodes", headers=cluster.bearer(secret))
        nodes = found.json()["data"]["result"]["result"] if found is not None and found.status_code == 200 else []
        kind = "visage-endpoint" if secret == "visage-endpoint-ray" else "visage-cpu"
        wanted = [pod for name, pod in cluster.machine.pods.items() if name.startswith(kind) and "head" not in name]
        living = {node["node_ip"] for node in nodes if node["state"] == "ALIVE" and not node["is_head_node"]}
        return living == {pod.address for pod in wanted}

    return all_there


def until_answered_again(cluster: Cluster, load: Load, what: str) -> None:
    """Serve's new controller, where it does not reach a replica within ten seconds, has HAProxy ask none until then."""
    since = time.monotonic()
    until(lambda: load.answers(since)[200] > 20, 120, "answers")
    seen = load.end()
    cluster.note(f"{what}: {dict(seen)}, no replica was asked for {load.gap:.0f} s after the head was back")
    assert seen.keys() <= {200, 503}
    assert load.gap < 90


def test_heads_that_are_killed_come_back_and_replicas_answer_meanwhile(
    cluster: Cluster, champion: str, face: bytes
) -> None:
    load = Load(cluster, answering(cluster), face, callers=1)
    for document, secret in ((cluster.service, "visage-endpoint-ray"), (cluster.jobs, "visage-ray")):
        name = f"{document['metadata']['name']}-head-a"
        head = cluster.machine.pods[name]
        head.kill()
        until(lambda head=head: not head.runs(), 60, "the head's end")
        if document is cluster.service:
            since = time.monotonic()
            until(lambda since=since: load.answers(since).total() > 20, 60, "answers without a head")
            assert load.answers(since).keys() == {200}
        until(alive(cluster, renewed(cluster, document, "b"), secret), 120, "the workers")
    until_answered_again(cluster, load, "heads killed")
    assert champion in cluster.visage("models").stdout
    assert "succeeded" in cluster.visage("jobs").stdout


def test_redis_is_stopped_and_comes_back(cluster: Cluster, champion: str, face: bytes) -> None:
    load = Load(cluster, answering(cluster), face, callers=1)
    redis = cluster.machine.pods["redis-0"]
    heads = [pod for name, pod in cluster.machine.pods.items() if "-head-" in name]
    redis.kill("TERM")
    began = time.monotonic()
    until(lambda: not any(head.runs() for head in heads), 120, "the heads' end")
    cluster.note(f"Redis away: both heads ended within {time.monotonic() - began:.0f} s")
    time.sleep(30)
    assert load.answers(began).keys() == {200}
    redis.remove()
    cluster.store("StatefulSet", "redis")
    for document, secret in ((cluster.service, "visage-endpoint-ray"), (cluster.jobs, "visage-ray")):
        until(alive(cluster, renewed(cluster, document, "c"), secret), 120, "the workers")
    until_answered_again(cluster, load, "Redis away and back")


@pytest.mark.parametrize("name", ["mlflow-0", "objects-0"])
def test_a_study_outlives_what_is_away_for_a_minute(cluster: Cluster, champion: str, name: str) -> None:
    kind = {"mlflow-0": "Deployment", "objects-0": "StatefulSet"}[name]
    done = cluster.visage("submit", *cluster.study(f"without-{name}", images=1200, every=240), "--image")
    assert done.returncode == 0, done.stdout + done.stderr
    job = done.stdout.partition(":")[0]
    until(lambda: cluster.trials(f"without-{name}") > 1, 900, "a second trial")
    pod = cluster.machine.pods[name]
    pod.kill()
    until(lambda: not pod.runs(), 60, "its end")
    time.sleep(60)
    pod.remove()
    cluster.store(kind, name.removesuffix("-0"))
    until(lambda: cluster.state(job) not in ("pending", "running"), 1800, "the study's end")
    assert cluster.state(job) == "succeeded", cluster.visage("jobs", "logs", job).stdout
    answering(cluster)


def test_none_came_near_to_its_limit(cluster: Cluster, champion: str) -> None:
    cluster.memory("after all")
