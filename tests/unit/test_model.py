from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pydantic import ValidationError

from topology.config import from_file
from topology.model import Flow, Guest, Port, Protocol, Topology, Zone

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "number", "protocol"), [(80, 80, "tcp"), ("443", 443, "tcp"), ("53/udp", 53, "udp")]
)
def test_port(text: str | int, number: int, protocol: str) -> None:
    """A port is a number, TCP by default, and is written with its protocol."""
    assert Port.parse(text) == Port(number=number, protocol=Protocol(protocol))
    assert str(Port.parse(text)) == f"{number}/{protocol}"


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "80/sctp", "80/", "/tcp", " 80", "8_0", "٨٠", True])
def test_no_port(text: str) -> None:
    """Text that is not a port raises ValueError."""
    with pytest.raises(ValueError, match="Port"):
        Port.parse(text)


def test_flow() -> None:
    """A flow is written as it was read."""
    assert str(Flow.parse("a -> b:53/udp")) == "a -> b:53/udp"
    assert Flow.parse("a -> b:1") == Flow(source="a", destination="b", port=Port(number=1))


@pytest.mark.parametrize(
    "text", ["", "a -> b", "a->b:1", "A -> b:1", "a -> b:0", "a -> b:1 ", "a -> b -> c:1"]
)
def test_no_flow(text: str) -> None:
    """Text that is not a flow raises ValueError."""
    with pytest.raises(ValueError, match="Flow"):
        Flow.parse(text)


def test_frozen(site: Topology) -> None:
    """A value is immutable, and unknown fields are refused."""
    with pytest.raises(ValidationError, match="frozen"):
        site.domain = "x"
    with pytest.raises(ValidationError, match="Extra inputs"):
        Port.model_validate({"number": 1, "nmuber": 2})


def test_zone_names(site: Topology) -> None:
    """A VLAN's network is named after its tag, others after their zone; two networks are not internal."""
    assert [z.network for z in site.zones.values()][-4:] == ["probe", "vlan10", "vlan20", "vlan30"]
    docker = [z.name for z in site.zones.values() if z.is_docker]
    assert docker == ["edge", "frontend", "query", "backend", "probe"]
    assert [z.name for z in site.zones.values() if not z.internal] == ["edge", "probe"]
    assert site.zones["apps"].gateway == IPv4Address("10.10.20.1")


def test_legs_follow_flows(site: Topology) -> None:
    """The ingress has a leg only on zones of its flows, even if another zone has an address for it."""
    fewer = tuple(flow for flow in site.flows if flow.destination != "vaultwarden")
    legs = Topology.model_validate({**dict(site), "flows": fewer}).legs
    assert [leg.zone.name for leg in legs.every] == ["wordpress", "apps"]


def test_name_prefix(site: Topology) -> None:
    """The prefix is in every physical name, and so in every route to a container."""
    lab = Topology.model_validate({**dict(site), "name_prefix": "lab-"})
    assert lab.physical("loki") == "lab-loki"
    assert lab.routes[0].url == "http://lab-grafana:3000"
    assert lab.address(lab.services["jellyfin"]) == "10.10.20.11"


def test_flows_by_end(site: Topology) -> None:
    """Flows are found by source or destination, hosts and management included."""
    assert [str(f) for f in site.flows_to("loki-gateway")] == [
        "grafana -> loki-gateway:3100/tcp",
        "promtail -> loki-gateway:3100/tcp",
    ]
    assert [str(f) for f in site.flows_from("promtail")] == ["promtail -> loki-gateway:3100/tcp"]
    assert [f.port.number for f in site.flows_from("management")] == [8006, 22]
    assert [zone.name for zone in site.management] == ["management"]


def test_the_node_has_an_address_where_one_is_given(site: Topology) -> None:
    """The node's interface has the address and its management zone's prefix; the address is optional."""
    assert str(site.node_interface) == "10.10.1.5/24"
    assert from_file(PROJECT / "Pulumi.seed.yaml").node_interface is None


def test_guest_has_one_zone() -> None:
    """A guest has exactly one zone."""
    with pytest.raises(ValidationError):
        Guest.model_validate(
            {"name": "a", "zone": ("b", "c"), "host": "a.b", "vmid": 100, "address": "10.0.0.1"}
        )


def test_hyphens() -> None:
    """Keys have hyphens in YAML and underscores in Python."""
    for name, field in (*Zone.model_fields.items(), *Topology.model_fields.items()):
        assert field.alias == name.replace("_", "-")
