"""The alert rules on made-up series, by Prometheus's own promtool."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "k8s" / "monitoring"
GROUPS = [
    group
    for name in ("rules.yaml", "cluster.yaml")
    for group in yaml.safe_load((FOLDER / name).read_text())["spec"]["groups"]
]
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: install Debian's package prometheus")


def firing(folder: Path, series: dict[str, str], alert: str, hours: float) -> bool:
    """Whether an alert fires after so many hours of the series, given a sample a minute in promtool's notation."""
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": GROUPS}))
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{int(hours * 60)}m", "alertname": alert, "exp_alerts": []}],
    }
    (folder / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [test]}))
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True)
    # It says that none was expected, and which it got instead.
    assert done.returncode == 0 or "got:" in done.stderr + done.stdout, done.stderr + done.stdout
    return done.returncode != 0


def ranks(shares: dict[str, float], a_minute: int = 100) -> dict[str, str]:
    """The histogram of self-check ranks of an endpoint with so many values a minute, of which shares lie below."""
    labels = 'model="visage-ucgan", check="identity_similarity"'
    counts = {
        f'ray_visage_self_check_rank_bucket{{{labels}, le="{edge}"}}': share for edge, share in shares.items()
    } | {f"ray_visage_self_check_rank_count{{{labels}}}": 1.0}
    return {name: f"0+{int(share * a_minute)}x480" for name, share in counts.items()}


REDIS = '{namespace="visage", statefulset="redis"}'
PENDING = 'kube_pod_status_phase{namespace="visage", pod="visage-gpu-worker-x", phase="Pending"}'
CERTIFICATE = 'certmanager_certificate_expiration_timestamp_seconds{namespace="visage", name="visage-tls"}'


def head(name: str) -> str:
    return f'kube_pod_status_ready{{namespace="visage", condition="true", pod="visage-{name}-head"}}'


EVEN = {"0.05": 0.05, "0.25": 0.25, "0.5": 0.5, "0.75": 0.75, "0.95": 0.95}


@pytest.mark.slow
def test_drift_is_told_from_what_was_at_registration(tmp_path: Path) -> None:
    assert not firing(tmp_path, ranks(EVEN), "VisageDrift", 7)
    assert not firing(tmp_path, ranks(EVEN | {"0.5": 0.7}), "VisageDrift", 7)
    lower = {"0.05": 0.2, "0.25": 0.55, "0.5": 0.8, "0.75": 0.95, "0.95": 1.0}
    assert firing(tmp_path, ranks(lower), "VisageDrift", 7)
    assert firing(tmp_path, ranks({edge: share / 3 for edge, share in EVEN.items()}), "VisageDrift", 7)
    assert not firing(tmp_path, ranks(lower, a_minute=1), "VisageDrift", 7)  # too few values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alert", "calm", "bad"),
    [
        ("VisageNoModel", {"ray_visage_model_ready": "1x60"}, {"ray_visage_model_ready": "0x60"}),
        ("VisageVersionRefused", {"ray_visage_model_refused": "0x60"}, {"ray_visage_model_refused": "1x60"}),
        (
            "VisageFaults",
            {'ray_visage_requests_total{status="200"}': "0+100x60", 'ray_visage_requests_total{status="500"}': "0x60"},
            {
                'ray_visage_requests_total{status="200"}': "0+100x60",
                'ray_visage_requests_total{status="500"}': "0+2x60",
            },
        ),
        (
            "VisageBusy",
            {
                'ray_visage_requests_total{path="/v1/expressions", status="200"}': "0+100x60",
                'ray_visage_requests_total{path="/v1/expressions", status="429"}': "0+2x60",
            },
            {
                'ray_visage_requests_total{path="/v1/expressions", status="200"}': "0+100x60",
                'ray_visage_requests_total{path="/v1/expressions", status="429"}': "0+9x60",
            },
        ),
        (
            "VisageStoreAway",
            {f"kube_statefulset_{what}{REDIS}": "1x60" for what in ("replicas", "status_replicas_ready")},
            {f"kube_statefulset_replicas{REDIS}": "1x60", f"kube_statefulset_status_replicas_ready{REDIS}": "0x60"},
        ),
        ("VisageHeadAway", {head("a"): "1x60", head("b"): "1x60"}, {head("a"): "1x60", head("b"): "0x60"}),
        ("VisagePodWaits", {PENDING: "0x60"}, {PENDING: "1x60"}),
        # Time begins in 1970.
        ("VisageCertificateEnds", {CERTIFICATE: f"{90 * 86400}x120"}, {CERTIFICATE: f"{9 * 86400}x120"}),
    ],
)
def test_each_alert_fires_for_its_fault_alone(
    tmp_path: Path, alert: str, calm: dict[str, str], bad: dict[str, str]
) -> None:
    hours = 1.5 if alert == "VisageCertificateEnds" else 0.75
    assert not firing(tmp_path, calm, alert, hours)
    assert firing(tmp_path, bad, alert, hours)


def test_no_alert_is_left_out_above() -> None:
    alerts = {rule["alert"] for group in GROUPS for rule in group["rules"] if "alert" in rule}
    endpoint = {"VisageDrift", "VisageNoModel", "VisageVersionRefused", "VisageFaults", "VisageBusy"}
    assert alerts == endpoint | {"VisageStoreAway", "VisageHeadAway", "VisagePodWaits", "VisageCertificateEnds"}
