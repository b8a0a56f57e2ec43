"""What the engine reads from Traefik's configuration and labels."""

from typing import Any

import pytest

from reachability.facts import ContainerFact, Entrypoint, Proxy, ProxyService, Router, RouterProtocol
from reachability.proxy import labelled, parse_dynamic, servers
from topology.model import Port, Protocol

WEB, TLS, DNS = Port(number=80), Port(number=443), Port(number=53, protocol=Protocol.UDP)
ENTRYPOINTS = (
    Entrypoint(name="web", port=WEB),
    Entrypoint(name="tls", port=TLS, default=False),
    Entrypoint(name="dns", port=DNS),
)


def proxy(content: dict[str, Any], **fields: Any) -> Proxy:
    """Return Traefik with a dynamic configuration."""
    routers, services = parse_dynamic(content, "routes.yml")
    fixed: dict[str, Any] = {"container": "traefik", "origin": "traefik", "entrypoints": ENTRYPOINTS}
    return Proxy(**fixed | fields, routers=routers, services=services)


def test_dynamic_configuration() -> None:
    """Routers and services of each section are read, with Traefik's keys in any case."""
    content = {
        "http": {
            "routers": {"a": {"rule": "Host(`a`)", "service": "a", "entrypoints": ["web"]}},
            "services": {"a": {"loadbalancer": {"servers": [{"url": "http://a:1"}]}}},
            "middlewares": {"m": {}},
        },
        "tcp": {"services": {"t": {"loadBalancer": {"servers": [{"address": "t:2"}]}}}},
    }
    assert parse_dynamic(content, "f") == (
        (Router(name="a", origin="f: http router a", service="a", entrypoints=("web",), rule="Host(`a`)"),),
        (
            ProxyService(name="a", origin="f: http service a", servers=("http://a:1",)),
            ProxyService(name="t", origin="f: tcp service t", kind=RouterProtocol.TCP, servers=("t:2",)),
        ),
    )


@pytest.mark.parametrize(
    "content", [{}, {"http": None}, {"http": {"routers": []}}, {"http": {"services": {"a": None}}}]
)
def test_other_shapes_open_nothing(content: dict[str, Any]) -> None:
    """A configuration that Traefik would refuse has no servers."""
    assert list(servers(proxy(content))) == []


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (
            {"loadBalancer": {"servers": [{"url": "http://a:1"}, {"url": "https://b"}]}},
            {("a", 1), ("b", 443)},
        ),
        ({"weighted": {"services": [{"name": "x"}, {"name": "y@file"}]}}, {("x", 80), ("y", 8)}),
        ({"mirroring": {"service": "x", "mirrors": [{"name": "y"}]}}, {("x", 80), ("y", 8)}),
        ({"failover": {"service": "x", "fallback": "y"}}, {("x", 80), ("y", 8)}),
        ({"weighted": {"services": [{"name": "s"}]}}, set()),
    ],
)
def test_services_lead_to_servers(service: dict[str, Any], expected: set[tuple[str, int]]) -> None:
    """Every kind of service leads to all servers behind it; a service that names itself has none."""
    others = {
        "x": {"loadBalancer": {"servers": [{"url": "http://x"}]}},
        "y": {"loadBalancer": {"servers": [{"url": "http://y:8/"}]}},
    }
    content = {"http": {"routers": {"r": {"service": "s"}}, "services": others | {"s": service}}}
    found = {(s.host, s.port.number if s.port else None) for s in servers(proxy(content))}
    assert found == expected


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("http", [], (WEB,)),
        ("http", ["tls"], (TLS,)),
        ("tcp", ["web", "tls"], (WEB, TLS)),
        ("udp", [], (DNS,)),
        ("udp", ["web"], ()),
        ("http", ["gone"], ()),
    ],
)
def test_entrypoints_of_a_router(kind: str, names: list[str], expected: tuple[Port, ...]) -> None:
    """A router uses the named entrypoints of its protocol; without names, the default ones."""
    server = {"url": "http://a:1", "address": "a:1"}
    content = {
        kind: {
            "routers": {"r": {"service": "s", "entryPoints": names}},
            "services": {"s": {"loadBalancer": {"servers": [server]}}},
        }
    }
    (found,) = servers(proxy(content))
    assert found.entrypoints == expected


@pytest.mark.parametrize(("kind", "text"), [("tcp", "a"), ("http", "http://a:x"), ("http", "a")])
def test_servers_that_cannot_be_read(kind: str, text: str) -> None:
    """A server without a readable host and port is kept, so that it can be reported."""
    content = {
        kind: {
            "routers": {"r": {"service": "s"}},
            "services": {"s": {"loadBalancer": {"servers": [{"address": text}]}}},
        }
    }
    (found,) = servers(proxy(content))
    assert (found.text, found.host) == (text, None)


def test_services_that_are_not_there() -> None:
    """A router to a missing service is kept; a router to the proxy's own (`@internal`) has no server."""
    content = {"http": {"routers": {"r": {"service": "gone@file"}, "d": {"service": "api@internal"}}}}
    assert [(s.text, s.host) for s in servers(proxy(content))] == [("gone@file", None)]


@pytest.mark.parametrize(
    ("labels", "exposed", "expected"),
    [
        ({}, True, {(WEB, 8080)}),
        ({}, False, set()),
        ({"traefik.enable": "true"}, False, {(WEB, 8080)}),
        ({"traefik.enable": "false"}, True, set()),
        ({"Traefik.HTTP.Routers.r.EntryPoints": "web, tls"}, True, {(WEB, 8080), (TLS, 8080)}),
        ({"traefik.http.services.s.loadbalancer.server.port": "9"}, True, {(WEB, 9)}),
        ({"traefik.udp.routers.r.entrypoints": "dns"}, True, {(DNS, 8080)}),
    ],
)
def test_labels(labels: dict[str, str], exposed: bool, expected: set[tuple[Port, int]]) -> None:
    """Labels choose entrypoint and port; without a router label the default entrypoints are used."""
    container = ContainerFact(name="c", origin="c", host="h", ports=(Port(number=8080),), labels=labels)
    traefik = proxy({}, labels=True, exposed_by_default=exposed)
    found = {
        (e, label.port.number if label.port else None)
        for label in labelled(traefik, [container])
        for e in label.entrypoints
    }
    assert found == expected


def test_labels_without_the_docker_provider() -> None:
    """Without the Docker provider, labels have no effect."""
    container = ContainerFact(name="c", origin="c", host="h", labels={"traefik.enable": "true"})
    assert list(labelled(proxy({}), [container])) == []
