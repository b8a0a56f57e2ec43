"""The files for Prometheus and Blackbox exporter, checked by promtool and the exporter itself."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.images.catalogue import BLACKBOX_EXPORTER, PROMETHEUS
from rendered.apps import runtime, watch
from rendered.apps.blackbox_exporter import blackbox_exporter
from rendered.apps.watch import ProbeKind
from tests.live.site import PROJECT
from topology.certificates import FOLDER
from topology.config import from_file
from topology.model import Container

SITE = from_file(PROJECT / "Pulumi.dev.yaml")
PROBES = watch.probes(SITE)
RULES: Any = watch.rules(SITE)
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
_ALWAYS = "x40"
"""After a value and a step: repeats the value for 40 more intervals of five seconds."""


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the promtool of the lab's Prometheus image."""
    program = PROMETHEUS.get(lambda _line: None) / "usr/bin/promtool"
    return subprocess.run((program, *words), capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with Prometheus's files, with the rules' path adapted to it."""
    service = SITE.services["prometheus"]
    assert isinstance(service, Container)
    for path, text in runtime(SITE, service).files.items():
        assert isinstance(text, str)
        own = text.replace("/etc/prometheus/rules", str(tmp_path))
        (tmp_path / Path(path).name).write_text(own, encoding="utf-8")
    return tmp_path


def test_promtool_takes_configuration_and_rules(folder: Path) -> None:
    """`promtool check` finds no fault in either file; it looks for the certificates as well."""
    config = folder / "prometheus.yml"
    config.write_text(config.read_text().replace(FOLDER, str(folder)))
    for path in map(Path, re.findall(r"\S+\.pem", config.read_text())):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    checked = promtool("check", "config", str(config))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    checked = promtool("check", "rules", "--lint-fatal", str(folder / "watch.yml"))
    assert (checked.returncode, f"{len(ALERTS)} rules found" in checked.stdout) == (0, True), checked.stderr


def test_blackbox_exporter_takes_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter's own check finds no fault, and there is a module for every kind of probe."""
    chain = tmp_path / "chain.pem"
    chain.write_text("")
    monkeypatch.setenv("HOMELAB_STATE", str(tmp_path))
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/ingress.crt").write_text("PEM")
    service = SITE.services["blackbox-exporter"]
    assert isinstance(service, Container)
    text = str(blackbox_exporter(SITE, service).files["/etc/blackbox_exporter/config.yml"])
    assert set(yaml.safe_load(text)["modules"]) == set(ProbeKind)
    (tmp_path / "config.yml").write_text(text, encoding="utf-8")
    program = BLACKBOX_EXPORTER.get(lambda _line: None) / "usr/bin/prometheus-blackbox-exporter"
    words = (program, "--config.check", f"--config.file={tmp_path}/config.yml")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def sound() -> dict[str, str]:
    """Return the series of a network as declared, with a recent successful live probe."""
    series = {
        f'probe_success{{job="probe",kind="{p.kind}",instance="{p.name}",service="{p.service}"}}': (
            f"{int(p.kind is not ProbeKind.CLOSED)}+0{_ALWAYS}"
        )
        for p in PROBES
    }
    for verdict, cells in (("agrees", 900), ("disagrees", 0), ("inconclusive", 0), ("free", 99)):
        series[f'verify_last_run_cells{{stack="dev",verdict="{verdict}"}}'] = f"{cells}+0{_ALWAYS}"
    series['verify_last_run_timestamp_seconds{stack="dev"}'] = f"0+0{_ALWAYS}"
    return series


def series_of(kind: ProbeKind) -> list[str]:
    """Return the series of a kind's probes."""
    return [name for name in sound() if f'kind="{kind}"' in name]


def told(series: str, alert: str) -> dict[str, str]:
    """Return the labels of the alert about a series."""
    pairs = (pair.partition("=") for pair in series.partition("{")[2].rstrip("}").split(","))
    return {key: value.strip('"') for key, _, value in pairs} | dict(ALERTS[alert]["labels"])


CLOSED, ROUTE, CONTROL = (
    series_of(kind)[0] for kind in (ProbeKind.CLOSED, ProbeKind.ROUTE, ProbeKind.CONTROL)
)
REDIRECT, UNKNOWN = series_of(ProbeKind.REDIRECT)[0], series_of(ProbeKind.UNKNOWN_HOST)[0]
DISAGREES = 'verify_last_run_cells{stack="dev",verdict="disagrees"}'
INCONCLUSIVE = 'verify_last_run_cells{stack="dev",verdict="inconclusive"}'
RUN = 'verify_last_run_timestamp_seconds{stack="dev"}'
SILENT = {"job": "probe", "severity": "critical"}
DAY_BEFORE = f"-86401+0{_ALWAYS}"

CASES: dict[str, tuple[str, dict[str, str | None], list[dict[str, str]]]] = {
    "a backend port answers": (
        "BackendPortAnswers", {CLOSED: f"1+0{_ALWAYS}"}, [told(CLOSED, "BackendPortAnswers")]
    ),
    "a route fails": ("RouteFails", {ROUTE: f"0+0{_ALWAYS}"}, [told(ROUTE, "RouteFails")]),
    "port 80 does more than redirect": (
        "IngressAnswersWrongly", {REDIRECT: f"0+0{_ALWAYS}"}, [told(REDIRECT, "IngressAnswersWrongly")]
    ),
    "an unknown host is served": (
        "IngressAnswersWrongly", {UNKNOWN: f"0+0{_ALWAYS}"}, [told(UNKNOWN, "IngressAnswersWrongly")]
    ),
    "the control fails": ("ControlFails", {CONTROL: f"0+0{_ALWAYS}"}, [told(CONTROL, "ControlFails")]),
    "one probe is silent": ("ProbeSilent", {CLOSED: None}, [SILENT]),
    "every probe is silent": (
        "ProbeSilent", {name: None for name in sound() if name.startswith("probe")}, [SILENT]
    ),
    "the live probe disagrees": (
        "VerifyDisagrees", {DISAGREES: f"2+0{_ALWAYS}"}, [told(DISAGREES, "VerifyDisagrees")]
    ),
    "the live probe can not judge": (
        "VerifyInconclusive", {INCONCLUSIVE: f"1+0{_ALWAYS}"}, [told(INCONCLUSIVE, "VerifyInconclusive")]
    ),
    "the live probe ran a day ago": ("VerifyTooOld", {RUN: DAY_BEFORE}, [told(RUN, "VerifyTooOld")]),
    "the live probe never ran": ("VerifyTooOld", {RUN: None}, [{"severity": "critical"}]),
}  # fmt: skip
"""Fault -> the alert, the series that change (None: gone), and the labels of the firing alerts."""


def outcome(
    folder: Path, change: dict[str, str | None], fires: dict[str, list[dict[str, str]]], at: str
) -> str:
    """Return "" if exactly these alerts fire at a time, else promtool's output."""
    series = sound() | change
    test = {
        "interval": "5s",
        "input_series": [{"series": name, "values": values} for name, values in series.items() if values],
        "alert_rule_test": [
            {"eval_time": at, "alertname": name, "exp_alerts": _expected(name, fires.get(name, ()))}
            for name in ALERTS
        ],
    }
    file = folder / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["watch.yml"], "evaluation_interval": "5s", "tests": [test]})
    )
    done = promtool("test", "rules", str(file))
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _expected(name: str, labels: Iterable[dict[str, str]]) -> list[dict[str, Any]]:
    return [{"exp_labels": own, "exp_annotations": {"summary": _summary(name, own)}} for own in labels]


def _summary(name: str, labels: dict[str, str]) -> str:
    text = str(ALERTS[name]["annotations"]["summary"])
    for key, value in labels.items():
        text = text.replace(f"{{{{ $labels.{key} }}}}", value)
    return text.replace("{{ $value }}", "2" if name == "VerifyDisagrees" else "1")


def test_a_sound_network_is_quiet(folder: Path) -> None:
    """No alert fires while everything is as declared."""
    assert outcome(folder, {}, {}, "150s") == ""


@pytest.mark.parametrize("case", CASES)
def test_an_alert_fires_alone_and_names_its_cause(folder: Path, case: str) -> None:
    """A fault fires only its alert, with a summary that names it, after two probes and not before."""
    alert, change, fires = CASES[case]
    assert outcome(folder, change, {alert: fires}, "150s") == ""
    assert outcome(folder, change, {}, "5s") == ""


def test_every_alert_is_tested() -> None:
    """Every alert rule has a case."""
    assert {alert for alert, _, _ in CASES.values()} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_that_is_gone_is_noticed(folder: Path, alert: str) -> None:
    """Without its rule, a case of the alert fails."""
    left = [
        {**group, "rules": [rule for rule in group["rules"] if rule["alert"] != alert]}
        for group in RULES["groups"]
    ]
    (folder / "watch.yml").write_text(yaml.safe_dump({"groups": left}))
    _, change, fires = next(case for case in CASES.values() if case[0] == alert)
    assert alert in outcome(folder, change, {alert: fires}, "150s")
