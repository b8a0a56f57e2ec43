"""Alertmanager: what the program makes of it, what the pack demands, and who reaches it."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import yaml

from policies.evaluate import evaluate
from resources import program
from resources.resource import Resource
from resources.site import Graph
from resources.typed import view
from tests.egress import ZONE, with_egress
from tests.policies.sound import TODAY, run
from tests.site import configuration
from topology.config import load
from topology.index import TopologyIndex

CANARY = "https://hooks.example/canary-4be1"
ALERTS = {"zones": ["backend", "egress"], "image": "prom/alertmanager:v0.28.1", "ports": [9093]}
FLOWS = (
    "prometheus -> alerts:9093/tcp",
    "alerts -> internet:443/tcp",
    "alerts -> internet:53/udp",
)
PROMETHEUS = "/etc/prometheus/prometheus.yml"
WEB = "/etc/prometheus/web.yml"


def keys() -> dict[str, Any]:
    """Return the sound site's keys with an Alertmanager that goes out."""
    config = with_egress(configuration(), *FLOWS)
    config["services"]["alerts"] = {**ALERTS, "app": "alertmanager"}
    assert config["zones"]["egress"] == ZONE
    return config


@cache
def made() -> tuple[Resource, ...]:
    """Return the program's resources for that site."""
    secret = {"alertmanager:receiver": CANARY}
    return tuple(run(keys(), program=lambda config: program.resources(config | secret)))


def findings(*changed: Resource) -> list[str]:
    """Return what the pack finds, with resources in place of those of their name and type."""
    new = {each.urn: each for each in changed}
    stack = tuple(new.get(each.urn, each) for each in made())
    return [f"{each.rule}: {each.message}" for each in evaluate(stack, load(keys()), TODAY).findings]


def container(name: str) -> Resource:
    """Return a service's container."""
    return next(each for each in made() if each.name == name and "uploads" in each.inputs)


def text(name: str, file: str) -> Any:
    """Return an uploaded file's content."""
    return next(each["content"] for each in container(name).inputs["uploads"] if each["file"] == file)


def rewritten(name: str, file: str, content: object) -> Resource:
    """Return a service's container with another content of a file."""
    old = container(name)
    uploads = [
        {**each, "content": yaml.safe_dump(content)} if each["file"] == file else each
        for each in old.inputs["uploads"]
    ]
    return replace(old, inputs={**old.inputs, "uploads": uploads})


def test_a_site_with_alertmanager_is_sound() -> None:
    """The pack finds nothing, and the receiver's URL is in no other file and marked as a secret."""
    assert findings() == []
    given = container("alerts")
    at = [index for index, each in enumerate(given.inputs["uploads"]) if each["content"] == CANARY]
    assert len(at) == 1
    assert ("uploads", at[0], "content") in given.secrets
    assert sum(CANARY in str(each.inputs) for each in made()) == 1


def test_prometheus_alone_reaches_it() -> None:
    """Prometheus and no other source reaches Alertmanager, and it leaves on its declared ports alone."""
    index = TopologyIndex.of(load(keys()))
    sets = tuple(Graph(tuple(map(view, made())), index).reachability.connection_sets())
    assert {source for one in sets if one.destination == "alerts" for source in one.sources} == {"prometheus"}
    assert {one.destination for one in sets if "alerts" in one.sources} == {"internet"}


def test_prometheus_sends_its_alerts_there() -> None:
    """Prometheus asks the declared Alertmanager by TLS with the flow's certificate, and no other."""
    (manager,) = yaml.safe_load(text("prometheus", PROMETHEUS))["alerting"]["alertmanagers"]
    assert manager["scheme"] == "https"
    assert manager["static_configs"] == [{"targets": ["alerts:9093"]}]
    assert manager["tls_config"]["cert_file"] == "/etc/certificates/alerts/certificate.pem"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scheme": "http"}, "asks alerts without TLS"),
        ({"tls_config": {}}, "asks alerts with cert_file not"),
        ({"static_configs": [{"targets": ["grafana:3000"]}]}, "names grafana:3000"),
        ({"dns_sd_configs": [{"names": ["x.example"]}]}, "dns_sd_configs"),
    ],
)
def test_another_way_to_it_is_refused(change: dict[str, Any], told: str) -> None:
    """An Alertmanager asked without TLS or certificate, another one, and one that is discovered."""
    config = yaml.safe_load(text("prometheus", PROMETHEUS))
    config["alerting"]["alertmanagers"][0] |= change
    by_others = [
        each
        for each in findings(rewritten("prometheus", PROMETHEUS, config))
        if not each.startswith(("rendered", "containers-as-rendered"))
    ]
    assert any(told in each for each in by_others), by_others


def test_it_asks_for_certificates() -> None:
    """An Alertmanager that takes clients without a certificate is refused."""
    config = yaml.safe_load(text("alerts", WEB))
    config["tls_server_config"]["client_auth_type"] = "NoClientCert"
    assert any(
        "client_auth_type is not Require" in each for each in findings(rewritten("alerts", WEB, config))
    )
