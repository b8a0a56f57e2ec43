"""The example of another project: which outputs it refuses, and what it makes of sound ones."""

import asyncio
import importlib.util
import json
from typing import Any

import pulumi
import pytest

from tests.site import changed
from topology.config import load
from topology.outputs import outputs
from topology.project import PROJECT

NAME = "start-page"


class Site(pulumi.runtime.Mocks):
    """Mocks of a stack with these outputs; they record other registered resources."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.made: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Return the outputs for the stack reference."""
        if args.typ == "pulumi:pulumi:StackReference":
            return args.name, {"name": args.name, "outputs": self.told}
        self.made[args.typ.rpartition(":")[2]] = dict(args.inputs)
        return args.name, dict(args.inputs)

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], None]:
        """Fail, because the program calls no function."""
        raise AssertionError(args.token)


def told(project: str = NAME, port: int = 8080) -> dict[str, Any]:
    """Return the outputs of the sound site with a slot for the page, as another project reads them."""
    flow = f"traefik -> {NAME}:{port}/tcp"
    slot = {"zones": ["frontend"], "ports": [port], "project": project}
    config = changed({f"services.{NAME}": slot})
    config["flows"] += [flow]
    config["unencrypted"] += [{"flow": flow, "reason": "the page speaks no TLS"}]
    return dict(json.loads(json.dumps(outputs(load(config)))))


def build(read: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run the program beside a site with these outputs; return what it made, by kind."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # every use of refused outputs fails; one error is enough
    asyncio.set_event_loop(loop)
    site = Site(read)
    pulumi.runtime.set_mocks(site, project=NAME, preview=False)
    config = {"site": "organization/homelab-network/dev", "image": "nginx:1"}
    pulumi.runtime.set_all_config({f"{NAME}:{key}": value for key, value in config.items()})

    def program() -> None:
        spec = importlib.util.spec_from_file_location("consumer", PROJECT / "examples/consumer/__main__.py")
        assert spec
        assert spec.loader
        spec.loader.exec_module(importlib.util.module_from_spec(spec))

    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]
    return site.made


def test_it_makes_the_container_of_its_slot() -> None:
    """Name, networks, addresses and name servers are the slot's; the page links to every other service."""
    read = told()
    made = build(read)
    assert made.keys() == {"Container"}
    container, slot = made["Container"], read["slots"][NAME]
    assert (container["name"], container["dns"]) == (slot["container"], slot["nameServers"])
    assert {one["name"]: one["ipv4Address"] for one in container["networksAdvanced"]} == {
        name: place["address"] for name, place in slot["networks"].items()
    }
    assert "ports" not in container
    page = container["uploads"][1]["content"]
    assert page.count("<li>") == len(read["urls"]) - 1
    assert NAME not in page


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ({**told(), "schemaVersion": 3}, "schemaVersion: 3 is not 2; read docs/outputs.md"),
        ({}, "schemaVersion: is not there; name a site"),
        ({**told(), "slots": None}, "slots: start-page is not there for project start-page; declare it"),
        (told(project="other"), "slots: start-page is not there for project start-page; declare it"),
        (told(port=80), "slots.start-page.ports: lacks 8080/tcp"),
    ],
)
def test_it_refuses_what_it_can_not_fill(read: dict[str, Any], said: str) -> None:
    """A wrong schema version, and no slot of this project with the page's port, are refused."""
    with pytest.raises(pulumi.RunError, match=said.replace(".", r"\.")):
        build(read)
