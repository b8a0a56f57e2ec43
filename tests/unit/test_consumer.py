"""The example of another project: which outputs it refuses, and what it makes of sound ones."""

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pulumi
import pytest

from tests.site import loaded
from topology.outputs import outputs

PROJECT = Path(__file__).resolve().parents[2]


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


def build(authority: Path, prefix: str = "172.30.99.0/28", **other: Any) -> dict[str, dict[str, Any]]:
    """Run the program beside dev, with other outputs if given; return what it made, by kind."""
    told: dict[str, Any] = {**outputs(loaded()), **other}
    authority.write_text("a certificate")
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # every use of refused outputs fails; one error is enough
    asyncio.set_event_loop(loop)
    site = Site(told)
    pulumi.runtime.set_mocks(site, project="start-page", preview=False)
    names = {
        "site": "organization/homelab-network/dev",
        "prefix": prefix,
        "image": "nginx:1",
        "authority": "",
    }
    values = {f"start-page:{key}": value for key, value in names.items()}
    pulumi.runtime.set_all_config(values | {"start-page:ca-file": str(authority)})

    def program() -> None:
        spec = importlib.util.spec_from_file_location("consumer", PROJECT / "examples/consumer/__main__.py")
        assert spec
        assert spec.loader
        spec.loader.exec_module(importlib.util.module_from_spec(spec))

    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]
    return site.made


def test_it_makes_a_network_and_a_container_on_it(tmp_path: Path) -> None:
    """The container is only on its own network, publishes nothing, and asks the ingress by name."""
    made = build(tmp_path / "ca.crt")
    assert made.keys() == {"Network", "Container"}
    container = made["Container"]
    assert [one["name"] for one in container["networksAdvanced"]] == [made["Network"]["name"]]
    assert "ports" not in container
    nginx, page, authority = (one["content"] for one in container["uploads"])
    assert "proxy_pass https://172.30.99.1:443/;" in nginx
    assert nginx.count("location = /live/") == page.count("<li>") == 7
    assert (authority, "proxy_ssl_verify on;" in nginx) == ("a certificate", True)


def test_an_ingress_with_an_address_is_asked_there(tmp_path: Path) -> None:
    """Where Docker-SRV publishes on one address, the container uses that address."""
    ingress = {"address": "192.0.2.10", "ports": [443], "legs": {}}
    nginx = build(tmp_path / "ca.crt", ingress=ingress)["Container"]["uploads"][0]["content"]
    assert "proxy_pass https://192.0.2.10:443/;" in nginx


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"schemaVersion": 3}, "schemaVersion: 3 is not 2; read docs/outputs.md"),
        ({"flows": {}}, "flows: the internet may not reach the ingress on 443"),
        ({"prefix": "172.30.1.16/28"}, "overlaps 172.30.1.0/24 of zone frontend; use another"),
    ],
)
def test_it_refuses_what_it_can_not_build_on(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    """A wrong schema version, an unreachable ingress or an overlapping prefix is refused; nothing is made."""
    with pytest.raises(pulumi.RunError, match=said.replace(".", r"\.")):
        build(tmp_path / "ca.crt", **wrong)
