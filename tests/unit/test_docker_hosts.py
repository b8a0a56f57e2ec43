"""Stack files of several Docker hosts: what is refused in them, and each host's part of the site."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from commands import adopt
from resources.inventory import Kind, inventory
from resources.site import Graph
from tests.docker_hosts import site
from tests.site import changed, configuration, numbered
from tests.unit.test_half_config import document
from topology import schema
from topology.config import ConfigError, load
from topology.index import TopologyIndex
from topology.model import NO_NAME_SERVER
from verify import host, learned

BAD: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("bad_docker_hosts.yaml").read_text(encoding="utf-8")
)


def test_a_site_on_two_docker_hosts_is_read() -> None:
    """The loader and the schema take the site."""
    load(site())
    jsonschema.validate(document(site()), schema.configuration())


@pytest.mark.parametrize("case", BAD, ids=[case["id"] for case in BAD])
def test_what_does_not_fit_two_docker_hosts_is_refused(case: dict[str, Any]) -> None:
    """Each fault is one line with its remedy, and nothing else is said."""
    values = changed(case["change"], site())
    with pytest.raises(ConfigError) as refused:
        load(values)
    assert str(refused.value) == numbered(case["message"], values)


def test_each_docker_host_has_its_own_part() -> None:
    """A part has the containers, Docker zones and flows of one host, and the guests; the ingress is first."""
    one, two = load(site()).by_docker_host
    assert [part.docker.name for part in (one, two)] == ["docker-srv", "docker-2"]
    assert {each.name for each in two.containers} == {"store", "worker"}
    assert one.containers == tuple(load(configuration()).containers)
    assert {*one.zones} & {*two.zones} == {zone.name for zone in one.zones.values() if not zone.is_docker}
    assert (one.guests, one.ingress_name, two.ingress_name) == (two.guests, "traefik", None)
    assert {*map(str, two.flows)} >= {"worker -> store:5432/tcp", "management -> docker-2:22/tcp"}
    assert not {flow.destination for flow in two.flows} & {"traefik", "loki", "docker-srv"}


def test_a_second_host_may_publish_what_the_ingress_does() -> None:
    """Port 443 of the second host is its own; of the ingress's host it is the ingress's."""
    own = changed({"hosts.docker-2.ports": [22, 443]}, site())
    assert [str(port) for port in load(own).docker_hosts[1].ports] == ["22/tcp", "443/tcp"]
    first = {"hosts.docker-srv.closed": True, "hosts.docker-srv.ports": [443]}
    with pytest.raises(ConfigError, match="443/tcp is where the ingress is published; remove it"):
        load(changed(first, site()))


def test_the_whole_site_tells_each_host_of_its_networks() -> None:
    """A container asks its own host's name servers, and a network's first address is its own host's."""
    whole = load(site())
    by_name = {each.name: each for each in whole.containers}
    assert [*map(str, whole.name_servers(by_name["worker"]))] == ["9.9.9.9"]
    assert whole.name_servers(by_name["store"]) == (NO_NAME_SERVER,)
    told = learned.names(whole)
    assert (told["172.31.1.1"], told["172.30.3.1"]) == ("docker-2", "docker-srv")


def test_a_site_on_one_docker_host_is_its_own_part() -> None:
    """Nothing is made of a site with one Docker host."""
    whole = TopologyIndex.of(load(configuration()))
    (part,) = whole.by_docker_host
    assert part is whole
    assert whole.part_of("loki") is whole


def test_an_inventory_has_every_docker_host() -> None:
    """A review compares the host of each Docker network, and whether each host is closed."""
    found = inventory(Graph((), TopologyIndex.of(load(site()))), {})
    zones, settings = found[Kind.ZONE], found[Kind.SETTING]
    assert (zones["jobs"].traits["Docker host"], "Docker host" in zones["apps"].traits) == ("docker-2", False)
    assert (settings["docker-2"].traits, settings["docker-srv"].traits) == (
        {"closed": "true"},
        {"closed": "false"},
    )


def test_live_commands_name_the_hosts_that_they_leave_out() -> None:
    """What asks Docker-SRV says which other hosts it does not ask, and nothing on a site with one."""
    told = "docker-2: its containers, rules and ports; only docker-srv is asked"
    assert (host.unasked(load(site())), host.unasked(load(configuration()))) == ([told], [])


def test_no_plan_adopts_several_docker_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`commands adopt` refuses such a stack before it asks an engine."""
    (tmp_path / "Pulumi.two.yaml").write_text(yaml.safe_dump(document(site())), encoding="utf-8")
    assert adopt.main(["--stack", "two"], tmp_path) == 2
    told = "hosts: a plan is for one Docker host, and there are several; adopt one first, alone.\n"
    assert capsys.readouterr().err == told
