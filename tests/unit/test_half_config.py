"""Stack files of half sites: what is refused in them, and that engine and packet walk agree on sound ones."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from resources.site import Graph
from resources.view import view
from tests.half import docker_alone, flat, proxmox_alone
from tests.policies.sound import run
from tests.site import changed, listed, numbered
from tests.unit.packet_walk import Walk
from topology import schema
from topology.config import ConfigError, load
from topology.declared import Declared

Config = dict[str, Any]
SITES: dict[str, Callable[[], Config]] = {
    "docker alone": docker_alone,
    "proxmox alone": proxmox_alone,
    "flat": flat,
    "flat, proxmox alone": partial(flat, docker=False),
}
BAD: list[dict[str, Any]] = yaml.safe_load(
    listed(Path(__file__).with_name("bad_half_sites.yaml").read_text(encoding="utf-8"))
)


def document(config: Config) -> Config:
    """Return a stack file with these keys."""
    return {"config": {f"homelab-network:{key}": value for key, value in config.items()}}


@pytest.mark.parametrize("site", SITES)
def test_a_sound_half_site_is_read(site: str) -> None:
    """The loader and the schema take the site."""
    load(SITES[site]())
    jsonschema.validate(document(SITES[site]()), schema.configuration())


@pytest.mark.parametrize("site", SITES)
def test_engine_and_walk_agree_on_half_sites(site: str) -> None:
    """On the facts of the program's resources the engine and the packet walk find the same flows."""
    config = SITES[site]()
    graph = Graph(tuple(map(view, run(config))), Declared.of(load(config)))
    found = {flow.key for flow in graph.reachability.flows()}
    assert found
    assert found == Walk(graph.facts).flows()


@pytest.mark.parametrize("case", BAD, ids=[case["id"] for case in BAD])
def test_a_broken_half_site_is_refused(case: dict[str, Any]) -> None:
    """Each fault is one line with its remedy, and nothing else is said."""
    values = changed(case["change"], SITES[case["site"]]())
    with pytest.raises(ConfigError) as refused:
        load(values)
    assert str(refused.value) == numbered(case["message"], values)
