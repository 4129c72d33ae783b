"""The rules in deploy/alerts.yml are those that docs/monitoring.md explains, and Prometheus takes them."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import yaml

from chat.core.errors import CODES
from tests.support.metrics import find_metric_names, list_exported_samples
from tests.support.needs import find_program
from tests.support.server import ROOT

RULES = ROOT / "deploy" / "alerts.yml"


def load_rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_each_alert_of_the_page_is_a_rule_with_the_same_expression_and_time() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"^\| ([A-Z][^|]+) \| `(.+?)`(?: for (\d+) (m|s))? \| [^|]*\|$", page, re.MULTILINE)
    explained = [(name, expression, number + unit) for name, expression, number, unit in rows]
    assert explained == [(rule["annotations"]["summary"], rule["expr"], rule.get("for", "")) for rule in load_rules()]
    assert len(explained) >= 11


def test_alert_rules_use_only_metrics_and_codes_that_exist() -> None:
    expressions = " ".join(rule["expr"] for rule in load_rules())
    assert find_metric_names(expressions) <= list_exported_samples()
    assert set(re.findall(r'code!?="(\w+)"', expressions)) <= set(CODES)


def test_each_alert_rule_has_a_description_and_a_severity() -> None:
    for rule in load_rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch("Chatsite[A-Za-z]+", rule["alert"])
        assert rule["labels"]["severity"] in {"page", "warning"}
        assert rule["annotations"]["description"]
    assert len({rule["alert"] for rule in load_rules()}) == len(load_rules())


def test_prometheus_accepts_the_file() -> None:
    promtool = find_program("promtool")
    ended = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"SUCCESS: {len(load_rules())} rules found" in ended.stdout
