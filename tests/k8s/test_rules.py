"""The alert rules on made-up series, by Prometheus's own promtool."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = Path(__file__).parents[2] / "k8s" / "monitoring" / "rules.yaml"
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: install Debian's package prometheus")


def firing(folder: Path, series: dict[str, str], alert: str, hours: float) -> bool:
    """Whether an alert fires after so many hours of the series, given a sample a minute in promtool's notation."""
    rules = yaml.safe_load(RULES.read_text())["spec"]
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
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


EVEN = {"0.05": 0.05, "0.25": 0.25, "0.5": 0.5, "0.75": 0.75, "0.95": 0.95}


def test_drift_is_told_from_what_was_at_registration(tmp_path: Path) -> None:
    assert not firing(tmp_path, ranks(EVEN), "VisageDrift", 7)
    assert not firing(tmp_path, ranks(EVEN | {"0.5": 0.7}), "VisageDrift", 7)
    lower = {"0.05": 0.2, "0.25": 0.55, "0.5": 0.8, "0.75": 0.95, "0.95": 1.0}
    assert firing(tmp_path, ranks(lower), "VisageDrift", 7)
    assert firing(tmp_path, ranks({edge: share / 3 for edge, share in EVEN.items()}), "VisageDrift", 7)
    assert not firing(tmp_path, ranks(lower, a_minute=1), "VisageDrift", 7)  # too few values


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
    ],
)
def test_each_alert_fires_for_its_fault_alone(
    tmp_path: Path, alert: str, calm: dict[str, str], bad: dict[str, str]
) -> None:
    assert not firing(tmp_path, calm, alert, 0.75)
    assert firing(tmp_path, bad, alert, 0.75)


def test_no_alert_is_left_out_above() -> None:
    groups = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert alerts == {"VisageDrift", "VisageNoModel", "VisageVersionRefused", "VisageFaults", "VisageBusy"}
