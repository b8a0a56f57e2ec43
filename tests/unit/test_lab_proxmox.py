"""The lab's Proxmox side without root: guests, the API, certificates, routes, daemons."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509

from lab import paths, proxmox, routes, tls
from lab.daemon import Process, write
from lab.errors import LabError
from lab.proxmox import packages, plane, servers, switch
from lab.proxmox.api import ARCHIVE, Proxmox
from lab.proxmox.guests import LabGuest, Listener, Nic, changes, read_guest, read_listeners, read_nic

MAC = "BC:24:11:00:00:65"
TOKEN = "root@pam!homelab=0b6f2a0e-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


class TestGuests:
    """Reading guests from the API's configuration."""

    def test_card_of_one_vlan(self) -> None:
        """A card with a tag is an access port of that VLAN, with cloud-init's address and gateway."""
        nic = read_nic(0, f"virtio={MAC},bridge=vmbr1,firewall=1,tag=10", "gw=10.0.10.1,ip=10.0.10.11/24")
        assert nic == Nic(
            index=0,
            mac=MAC.lower(),
            bridge="vmbr1",
            tag=10,
            firewall=True,
            address=IPv4Interface("10.0.10.11/24"),
            gateway=IPv4Address("10.0.10.1"),
        )
        assert nic.switch_options == ["tag=10"]

    @pytest.mark.parametrize(
        ("net", "options"),
        [
            ("", []),
            (",trunks=10;20", ["trunks=10,20"]),
            (",tag=5,trunks=10;20", ["tag=5", "trunks=10,20", "vlan_mode=native-untagged"]),
        ],
    )
    def test_trunks(self, net: str, options: list[str]) -> None:
        """Trunks become ports as in Proxmox; a card with neither tag nor trunks carries every VLAN."""
        assert read_nic(0, f"virtio={MAC},bridge=vmbr1{net}").switch_options == options

    def test_card_that_is_not_there(self) -> None:
        """A card with `link_down=1` is down, and a card without a static address has none."""
        nic = read_nic(1, f"e1000={MAC},bridge=vmbr1,link_down=1", "ip=dhcp")
        assert (nic.up, nic.address, nic.gateway) == (False, None, None)

    def test_card_without_mac(self) -> None:
        """A card without a MAC is refused, since Proxmox always writes one."""
        with pytest.raises(ValueError, match="net3 has no MAC address"):
            read_nic(3, "virtio,bridge=vmbr1")

    def test_listeners(self) -> None:
        """A guest's listeners are read from the ports line of its notes; without that line it has none."""
        notes = "Jellyfin\nports: 8096/tcp, 7359/udp\nsee docs"
        assert read_listeners(notes) == (
            Listener(number=8096, protocol="tcp"),
            Listener(number=7359, protocol="udp"),
        )
        assert read_listeners("reports: 80/tcp") == ()

    def test_cards_of_missing_bridges_are_unplugged(self) -> None:
        """A guest has only the cards whose bridge the node has."""
        config = {
            "net0": f"virtio={MAC},bridge=vmbr1,tag=10",
            "net1": f"virtio={MAC},bridge=vmbr7,tag=10",
            "ipconfig0": "ip=10.0.10.11/24",
            "description": "ports: 80/tcp",
            "memory": "512",
        }
        guest = read_guest(101, "site-1", config, {"vmbr1"})
        assert [nic.index for nic in guest.nics] == [0]
        assert (guest.namespace, guest.tap(guest.nics[0])) == ("vm-101", "tap101i0")

    def test_a_containers_card_has_its_address(self) -> None:
        """A system container's address and gateway are in `netN`, and its name is its host name."""
        net = f"name=eth0,bridge=vmbr1,firewall=1,gw=10.0.10.1,hwaddr={MAC},ip=10.0.10.11/24,tag=10,type=veth"
        guest = read_guest(203, "dns", {"net0": net, "ipconfig0": "ip=10.9.9.9/24"}, {"vmbr1"}, lxc=True)
        (nic,) = guest.nics
        assert (nic.address, nic.gateway) == (IPv4Interface("10.0.10.11/24"), IPv4Address("10.0.10.1"))
        assert (nic.mac, nic.tag, nic.firewall, guest.lxc) == (MAC.lower(), 10, True, True)

    def test_changes(self) -> None:
        """Unchanged guests stay; changed, incomplete and unwanted ones go; changed and new ones are built."""
        same, new = LabGuest(vmid=101, name="a"), LabGuest(vmid=102, name="b")
        changed, broken = LabGuest(vmid=103, name="c"), LabGuest(vmid=104, name="d")
        present = {101: str(same), 103: str(LabGuest(vmid=103, name="old")), 104: None, 105: "gone"}
        assert changes([same, new, changed, broken], present) == ([103, 104, 105], [new, changed, broken])


class TestServers:
    """The server that a guest gets."""

    def test_site_gets_nginx(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nginx serves a site on all its TCP ports, with TLS and a certificate for its name on 443."""
        monkeypatch.setattr(packages, "nginx", lambda: Path("/nginx"))
        guest = LabGuest(vmid=101, name="site-1", listeners=read_listeners("ports: 80/tcp, 443/tcp"))
        (server,) = servers.of(guest, tmp_path)
        assert server.program == Path("/nginx")
        conf = (tmp_path / "nginx.conf").read_text()
        assert "listen 80;" in conf
        assert "listen 443 ssl;" in conf
        assert "Site-1 (nginx in the lab's VM namespace)" in conf
        shown = x509.load_pem_x509_certificate((tmp_path / "certificate.pem").read_bytes())
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["site-1"]
        assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600

    def test_others_get_the_labelled_stand_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every other guest is served by the stand-in, under the guest's name, on each TCP port."""
        monkeypatch.setattr("lab.images.standin_binary", lambda: Path("/standin"))
        guest = LabGuest(vmid=102, name="jellyfin", listeners=read_listeners("ports: 8096/tcp, 7359/udp"))
        (server,) = servers.of(guest, tmp_path)
        assert server.program == Path("/standin")
        assert server.arguments == ("page", "--name", "jellyfin", "--listen", "0.0.0.0:8096")

    def test_no_port_no_server(self, tmp_path: Path) -> None:
        """A guest whose notes name no port has no server."""
        assert servers.of(LabGuest(vmid=103, name="site-3"), tmp_path) == []


Ask = Callable[..., Any]


@contextmanager
def served(state: Path, calls: list[int], token: str = TOKEN) -> Iterator[tuple[Ask, Proxmox]]:
    """Serve the API in a thread on a free port; yields a caller `ask(method, path, status, **form)`."""
    loop = asyncio.new_event_loop()
    certificate = tls.leaf("proxmox", ["127.0.0.1"])
    pve = Proxmox(token=token, state=state, changed=lambda: calls.append(1), port=0)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(pve.start(*map(str, certificate)), loop).result(20)
    trust = str(tls.bundle())

    def ask(method: str, path: str, expected: int = 200, token: str = TOKEN, **form: Any) -> Any:
        answer = requests.request(
            method,
            f"{pve.url}/api2/json{path}",
            data=form or None,
            headers={"Authorization": f"PVEAPIToken={token}"},
            verify=trust,
            timeout=60,
        )
        assert answer.status_code == expected, answer.text
        return answer.json().get("data") if expected == 200 else answer.text

    try:
        yield ask, pve
    finally:
        asyncio.run_coroutine_threadsafe(pve.stop(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


NODE = "/nodes/pve1"


def add_machine(ask: Ask, vmid: int = 101, **config: Any) -> None:
    """Clone the template, with a card on VLAN 10 of vmbr1."""
    ask("POST", f"{NODE}/qemu/9000/clone", newid=vmid, name="site-1", full=1)
    ask("PUT", f"{NODE}/qemu/{vmid}/config", net0="virtio,bridge=vmbr1,tag=10", **config)


def add_container(ask: Ask, vmid: int = 203, expected: int = 200, token: str = TOKEN, **more: Any) -> Any:
    """Make a system container as the provider does, with a card on VLAN 20 of vmbr1, and start it."""
    form = {
        "ostemplate": f"local:{ARCHIVE}",
        "ostype": "debian",
        "hostname": "dns",
        "description": "dns\nports: 53/udp, 53/tcp",
        "storage": "local-lvm",
        "unprivileged": "1",
        "start": "1",
        "net0": f"bridge=vmbr1,firewall=1,ip=10.10.20.13/24,hwaddr={MAC},name=eth0,tag=20",
        **more,
    }
    return ask("POST", f"{NODE}/lxc", expected, token, vmid=vmid, **form)


def add_bridge(ask: Ask) -> None:
    """Give the node the bridge vmbr1."""
    ask("POST", f"{NODE}/network", iface="vmbr1", type="bridge", bridge_vlan_aware=1, autostart=1, mtu=1500)


class TestApi:
    """The API by TLS on a free port."""

    def test_token(self, tmp_path: Path) -> None:
        """Only the lab's token is accepted: no other secret or name, and not fakepve's password."""
        with served(tmp_path / "state.json", []) as (ask, _):
            ask("GET", "/nodes")
            ask("GET", "/nodes", 401, token=TOKEN[:-1] + "1")
            ask("GET", "/nodes", 401, token="root@pam!other=1")
            ask("POST", "/access/ticket", 401, username="root@pam", password="secret")

    def test_the_node_has_a_clock(self, tmp_path: Path) -> None:
        """The node tells this machine's time, which a pre-flight compares."""
        with served(tmp_path / "state.json", []) as (ask, _):
            assert abs(ask("GET", f"{NODE}/time")["time"] - time.time()) < 60

    def test_networks_are_kept(self, tmp_path: Path) -> None:
        """A bridge is listed as in Proxmox (MTU as text, all VLANs unless set) until it is deleted."""
        with served(tmp_path / "state.json", []) as (ask, _):
            add_bridge(ask)
            ask("POST", f"{NODE}/network", 400, iface="vmbr1", type="bridge")
            ask("PUT", f"{NODE}/network")
            (bridge,) = [one for one in ask("GET", f"{NODE}/network") if one["iface"] == "vmbr1"]
            assert (bridge["mtu"], bridge["bridge_vids"], bridge["autostart"]) == ("1500", "2-4094", 1)
            ask("DELETE", f"{NODE}/network/vmbr1")
            assert [one["iface"] for one in ask("GET", f"{NODE}/network")] == ["vmbr0"]

    def test_configuration_is_typed(self, tmp_path: Path) -> None:
        """A machine's numbers are returned as numbers, its card has a MAC, its drives have volumes."""
        with served(tmp_path / "state.json", []) as (ask, _):
            add_machine(ask, cores="2", ide2="local-lvm:cloudinit", scsi0="local-lvm:5,size=5368709120")
            config = ask("GET", f"{NODE}/qemu/101/config")
            assert config["cores"] == 2
            assert read_nic(0, config["net0"]).tag == 10
            assert config["ide2"].startswith("local-lvm:vm-101-cloudinit,")
            assert "size=5G" in config["scsi0"]
            ask("PUT", f"{NODE}/qemu/101/resize", disk="scsi0", size="8G")
            assert "size=8G" in ask("GET", f"{NODE}/qemu/101/config")["scsi0"]

    def test_start_needs_the_bridge(self, tmp_path: Path) -> None:
        """A machine whose bridge the node lacks does not start, and the task names the bridge."""
        with served(tmp_path / "state.json", []) as (ask, pve):
            add_machine(ask)
            task = ask("POST", f"{NODE}/qemu/101/status/start")
            status = ask("GET", f"{NODE}/tasks/{task}/status")["exitstatus"]
            assert status == "bridge 'vmbr1' does not exist"
            add_bridge(ask)
            ask("POST", f"{NODE}/qemu/101/status/start")
            assert [guest.name for guest in pve.guests("vmbr1")] == ["site-1"]

    def test_new_tag_is_plugged_in_at_once(self, tmp_path: Path) -> None:
        """A running machine's card moves to its new VLAN without a restart, as with PVE's default hotplug."""
        with served(tmp_path / "state.json", []) as (ask, pve):
            add_bridge(ask)
            add_machine(ask)
            ask("POST", f"{NODE}/qemu/101/status/start")
            ask("PUT", f"{NODE}/qemu/101/config", net0=f"virtio={MAC},bridge=vmbr1,tag=20")
            assert [nic.tag for guest in pve.guests("vmbr1") for nic in guest.nics] == [20]
            ask("PUT", f"{NODE}/qemu/101/config", delete="net0")
            assert [guest.nics for guest in pve.guests("vmbr1")] == [()]

    def test_delete_with_trailing_slash(self, tmp_path: Path) -> None:
        """A DELETE with a trailing slash, as the provider sends it, deletes the machine."""
        with served(tmp_path / "state.json", []) as (ask, pve):
            add_machine(ask)
            ask("DELETE", f"{NODE}/qemu/101/?destroy-unreferenced-disks=1&purge=0")
            assert pve.vm(101) is None

    def test_rule_position_is_text(self, tmp_path: Path) -> None:
        """A firewall rule read by its position has the position as text, as in Proxmox."""
        with served(tmp_path / "state.json", []) as (ask, _):
            ask("POST", "/cluster/firewall/rules", type="in", action="ACCEPT")
            assert ask("GET", "/cluster/firewall/rules/0")["pos"] == "0"

    def test_disk_sizes(self, tmp_path: Path) -> None:
        """A disk's size in bytes is reported unchanged, for the machine and in the cluster."""
        with served(tmp_path / "state.json", []) as (ask, _):
            add_machine(ask, scsi0=f"local-lvm:vm-101-disk-0,size={8 * 2**30}")
            assert ask("GET", f"{NODE}/qemu/101/status/current")["maxdisk"] == 8 * 2**30
            assert {one["id"]: one.get("maxdisk") for one in ask("GET", "/cluster/resources")}[
                "qemu/101"
            ] == 8 * 2**30

    def test_state_survives(self, tmp_path: Path) -> None:
        """The API writes its state to a file of mode 0600 before it answers, and the next start reads it."""
        state, calls = tmp_path / "state.json", list[int]()
        with served(state, calls) as (ask, _):
            add_bridge(ask)
            add_machine(ask, cores=2)
            ask("POST", f"{NODE}/qemu/101/status/start")
            ask("POST", f"{NODE}/qemu/101/firewall/rules", type="in", action="ACCEPT")
            ask("POST", "/pools", poolid="homelab")
            before = (
                ask("GET", f"{NODE}/qemu/101/config"),
                ask("GET", f"{NODE}/network"),
                ask("GET", "/storage"),
            )
        assert state.stat().st_mode & 0o777 == 0o600
        assert calls
        with served(state, []) as (ask, pve):
            after = (
                ask("GET", f"{NODE}/qemu/101/config"),
                ask("GET", f"{NODE}/network"),
                ask("GET", "/storage"),
            )
            assert before == after
            assert [guest.vmid for guest in pve.guests("vmbr1")] == [101]
            assert len(ask("GET", f"{NODE}/qemu/101/firewall/rules")) == 1
            assert [pool["poolid"] for pool in ask("GET", "/pools")] == ["homelab"]

    def test_containers_run_beside_machines(self, tmp_path: Path) -> None:
        """A started container is a guest with its card, ports and rules, and an id is used once."""
        with served(tmp_path / "state.json", []) as (ask, pve):
            add_bridge(ask)
            add_container(ask)
            ((guest, rules),) = pve.guests("vmbr1").items()
            assert (guest.vmid, guest.name, guest.lxc, guest.nics[0].tag) == (203, "dns", True, 20)
            assert [str(each.number) + each.protocol for each in guest.listeners] == ["53udp", "53tcp"]
            assert rules == "flush ruleset\n"
            ask("PUT", "/cluster/firewall/options", enable=1)
            ask("PUT", f"{NODE}/lxc/203/firewall/options", enable=1, ipfilter=1, dhcp=0, policy_out="DROP")
            assert "ip saddr != { 10.10.20.13 } drop" in next(iter(pve.guests("vmbr1").values()))
            ask("POST", f"{NODE}/qemu/9000/clone", 500, newid=203, name="site-1", full=1)
            add_machine(ask, 101)
            add_container(ask, 101, 500)

    def test_a_container_moves_at_once(self, tmp_path: Path) -> None:
        """A running container's card moves to its new VLAN or bridge without a restart, as on Proxmox."""
        with served(tmp_path / "state.json", []) as (ask, pve):
            add_bridge(ask)
            add_container(ask)
            ask("PUT", f"{NODE}/lxc/203/config", net0=f"bridge=vmbr1,hwaddr={MAC},name=eth0,tag=30")
            assert [(nic.tag, nic.firewall) for one in pve.guests("vmbr1") for nic in one.nics] == [
                (30, False)
            ]
            ask("PUT", f"{NODE}/lxc/203/config", net0=f"bridge=vmbr0,hwaddr={MAC},name=eth0")
            assert [one.nics for one in pve.guests("vmbr1")] == [()]
            ask("POST", f"{NODE}/lxc/203/status/shutdown", forceStop=1, timeout=55)
            assert list(pve.guests("vmbr1")) == []

    def test_a_container_needs_its_bridge_and_template(self, tmp_path: Path) -> None:
        """A container on a bridge or from an archive that the node lacks is not started, and is told so."""
        with served(tmp_path / "state.json", []) as (ask, pve):
            task = add_container(ask)
            assert ask("GET", f"{NODE}/tasks/{task}/status")["exitstatus"] == "bridge 'vmbr1' does not exist"
            add_bridge(ask)
            task = add_container(ask, 204, ostemplate="local:vztmpl/debian-99_1_amd64.tar.zst")
            assert "does not exist" in ask("GET", f"{NODE}/tasks/{task}/status")["exitstatus"]
            assert [one.vmid for one in pve.guests("vmbr1")] == []

    def test_containers_survive(self, tmp_path: Path) -> None:
        """The next start of the API has the containers with their firewall, and runs those that ran."""
        state = tmp_path / "state.json"
        with served(state, []) as (ask, _):
            add_bridge(ask)
            add_container(ask)
            ask("POST", f"{NODE}/lxc/203/firewall/rules", type="in", action="ACCEPT")
            before = ask("GET", f"{NODE}/lxc/203/config")
        with served(state, []) as (ask, pve):
            assert ask("GET", f"{NODE}/lxc/203/config") == before
            assert [(one.vmid, one.lxc) for one in pve.guests("vmbr1")] == [(203, True)]
            assert len(ask("GET", f"{NODE}/lxc/203/firewall/rules")) == 1
            ask("DELETE", f"{NODE}/lxc/203?force=1")
            assert ask("GET", f"{NODE}/lxc") == []

    def test_what_a_token_can_not_do(self, tmp_path: Path) -> None:
        """Folders and devices of the node and features besides nesting are root's, as on Proxmox."""
        token = TOKEN.replace("root@pam", "me@pve")
        own = {"rootfs": "local-lvm:8", "start": "0"}
        with served(tmp_path / "state.json", [], token) as (ask, _):
            roots: tuple[dict[str, str], ...] = (
                {"mp0": "/srv/films,mp=/films,ro=1"},
                {"dev0": "path=/dev/dri/renderD128"},
                {"features": "keyctl=1"},
                {"features": "nesting=1", "unprivileged": "0"},
            )
            for vmid, more in enumerate(roots, 210):
                add_container(ask, vmid, 403, token, **own, **more)
            add_container(ask, 220, 200, token, **own, mp0="local-lvm:3,mp=/a", features="nesting=1")

    def test_template(self, tmp_path: Path) -> None:
        """The node has a template to clone, and its storage `local` accepts snippets."""
        with served(tmp_path / "state.json", []) as (ask, _):
            (vm,) = ask("GET", f"{NODE}/qemu")
            assert (vm["vmid"], vm["name"], vm["template"]) == (9000, "debian-12-template", 1)
            assert "snippets" in ask("GET", "/storage/local")["content"]


class TestTls:
    """Authority, leaf certificates and trust bundle."""

    def test_made_once(self) -> None:
        """Authority, leaf and bundle are the same on every call, and only the owner can read private keys."""
        first = [path.read_bytes() for path in (*tls.authority(), *tls.leaf("a", ["localhost", "127.0.0.1"]))]
        again = [path.read_bytes() for path in (*tls.authority(), *tls.leaf("a", ["localhost", "127.0.0.1"]))]
        assert first == again
        keys = list((paths.STATE / "tls").glob("*.key"))
        assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
        assert len(keys) == 2

    def test_other_names_make_another_leaf(self) -> None:
        """A leaf is issued anew when its names change."""
        cert, _ = tls.leaf("ingress", ["*.example.test"])
        before = cert.read_bytes()
        tls.leaf("ingress", ["*.example.test", "example.test"])
        held = x509.load_pem_x509_certificate(cert.read_bytes()).extensions
        names = held.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["*.example.test", "example.test"]
        assert cert.read_bytes() != before

    @pytest.mark.parametrize(("days", "renewed"), [(6, True), (8, False)])
    def test_renewed_a_week_before(
        self, days: int, *, renewed: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A leaf with less than seven days left is renewed; one with more is kept."""
        monkeypatch.setattr(tls, "_LEAF_LIFE", dt.timedelta(days=days))
        cert, _ = tls.leaf("a", ["localhost"])
        before = cert.read_bytes()
        monkeypatch.undo()
        monkeypatch.setattr(paths, "STATE", cert.parent.parent)
        tls.leaf("a", ["localhost"])
        assert (cert.read_bytes() != before) is renewed

    def test_new_authority_makes_new_leaves(self) -> None:
        """A leaf of a deleted authority is replaced."""
        cert, _ = tls.leaf("a", ["localhost"])
        before = cert.read_bytes()
        for path in tls.authority():
            path.unlink()
        tls.leaf("a", ["localhost"])
        assert cert.read_bytes() != before

    def test_bundle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The bundle is the system's trust and the lab's, and doesn't grow when it is itself the system's."""
        system = tmp_path / "system.pem"
        system.write_bytes(tls.authority()[0].read_bytes())
        for path in tls.authority():
            path.unlink()
        monkeypatch.setenv("SSL_CERT_FILE", str(system))
        trusted = ssl.create_default_context(cafile=str(tls.bundle())).get_ca_certs()
        assert len(trusted) == 2
        monkeypatch.setenv("SSL_CERT_FILE", str(tls.bundle()))
        assert tls.bundle().read_bytes().count(tls.authority()[0].read_bytes()) == 1


class TestRoutes:
    """Routes, tested with a simulated `ip`."""

    @pytest.fixture
    def table(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """Return a routing table that the code's commands change."""
        table: list[dict[str, Any]] = []

        def ip(argv: list[str], _what: str) -> str:
            match argv[1:]:
                case ["route", "add", "unreachable", prefix, "metric", metric]:
                    table.append({"dst": prefix.removesuffix("/32"), "metric": int(metric)})
                case ["route", "del", "unreachable", prefix, "metric", metric]:
                    table.remove({"dst": prefix.removesuffix("/32"), "metric": int(metric)})
            return json.dumps(table) if "-json" in argv else ""

        monkeypatch.setattr(routes, "run", ip)
        return table

    def test_added_once_and_removed(self, table: list[dict[str, Any]]) -> None:
        """Prefixes become unreachable once, more can follow, and `remove` deletes all that were added."""
        first, second = IPv4Network("10.0.10.0/24"), IPv4Network("10.0.20.9/32")
        routes.add([first])
        routes.add([first, second])
        assert [route["dst"] for route in table] == ["10.0.10.0/24", "10.0.20.9"]
        routes.remove()
        assert table == []

    def test_foreign_routes_stay(self, table: list[dict[str, Any]]) -> None:
        """An unreachable route with another metric is neither counted nor removed."""
        table.append({"dst": "10.0.10.0/24", "metric": 7})
        routes.add([IPv4Network("10.0.10.0/24")])
        assert len(table) == 2
        routes.remove()
        assert table == [{"dst": "10.0.10.0/24", "metric": 7}]

    def test_recorded_before_added(
        self, table: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The routes of an interrupted `add` are removed by the next `remove`."""
        add = routes.run  # type: ignore[attr-defined] # replaced by the fixture

        def stopped(argv: list[str], what: str) -> str:
            if argv[3:4] == ["10.0.20.0/24"] or "10.0.20.0/24" in argv:
                raise LabError("stopped")
            return str(add(argv, what))

        monkeypatch.setattr(routes, "run", stopped)
        with pytest.raises(LabError):
            routes.add([IPv4Network("10.0.10.0/24"), IPv4Network("10.0.20.0/24")])
        routes.remove()
        assert table == []

    def test_broken_record(self) -> None:
        """An unreadable record is an error that says what to do."""
        write(paths.RUN / "routes.json", "{")
        with pytest.raises(LabError, match="not JSON; remove it"):
            routes.remove()


class TestDaemon:
    """Identifying processes."""

    def test_ended_by_handle(self) -> None:
        """A recorded process is found and ended; afterwards the record names none."""
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        process = Process.of(child.pid)
        assert process is not None
        process.record(paths.RUN / "x.pid")
        assert Process.recorded(paths.RUN / "x.pid") == process
        process.end(grace=10)
        assert child.wait() in (-signal.SIGTERM, -signal.SIGKILL)
        assert Process.recorded(paths.RUN / "x.pid") is None

    def test_reused_id_is_left_alone(self) -> None:
        """A process with the recorded id and another start time is not ended."""
        Process(pid=os.getpid(), started=1).end()
        write(paths.RUN / "x.pid", f"{os.getpid()} 1\n")
        assert Process.recorded(paths.RUN / "x.pid") is None


def test_up_waits_for_the_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    """`wait_for` ends once every machine is built, says once for which it waits, and tells why it gave up."""
    shown = [{101: "built"}, {101: "built", 102: None}, {101: "built", 102: "built"}]
    monkeypatch.setattr(plane, "status", lambda: shown.pop(0) if len(shown) > 1 else shown[0])
    said: list[str] = []
    proxmox.wait_for({101, 102}, said.append)
    assert (said, len(shown)) == (["guests: waiting for vm-102"], 1)
    shown[:] = [{}]
    monkeypatch.setattr(proxmox, "_GUEST_SECONDS", 0.5)
    paths.RUN.mkdir(exist_ok=True)
    cause = "namespace vm-101: not made by this lab; remove it"
    proxmox._log_file().write_text(f"{cause}\n")
    proxmox.wait_for({101}, said.append)
    assert said[1:] == [
        "guests: waiting for vm-101",
        f"guests: vm-101 not built; {proxmox._log_file()} ends:\n  {cause}",
    ]


def test_what_has_the_labs_names_is_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interfaces and a port that the lab did not make are told at once; what it made is no fault."""
    links = {"trunk.10", "trunkp20", "pve-node"}
    monkeypatch.setattr(switch, "has_link", lambda name: name in links)
    monkeypatch.setattr(switch, "is_ours", lambda name: name == "trunkp20")
    monkeypatch.setattr(proxmox, "_port_is_free", lambda: False)
    faults = proxmox.taken(
        [9999], bridge="vmbr1", trunk="trunk", vlans=[10, 20], address=IPv4Interface("192.0.2.1/24")
    )
    # Where the lab is up, its namespaces are there; no guest of it is 9999.
    paths_told = [fault.partition(":")[0] for fault in faults]
    assert [path for path in paths_told if not path.startswith("namespace ")] == [
        "interface trunk.10",
        "interface pve-node",
        "127.0.0.1",
    ]
    write(paths.RUN / "node.json", "{}")
    Process.of(os.getpid()).record(paths.RUN / "proxmox.pid")  # type: ignore[union-attr]
    links.remove("trunk.10")
    assert not proxmox.taken(
        [9999], bridge="vmbr1", trunk="trunk", vlans=[10, 20], address=IPv4Interface("192.0.2.1/24")
    )


@pytest.mark.parametrize(
    ("link", "remedy"), [("vmbr1", "give the stack"), ("ovs-netdev", "end the other Open")]
)
def test_a_users_switch_is_refused(monkeypatch: pytest.MonkeyPatch, link: str, remedy: str) -> None:
    """A bridge or a userspace switch that is there before the lab's is named, since `down` deletes both."""
    monkeypatch.setattr(switch, "has_link", lambda name: name == link)
    with pytest.raises(
        LabError, match=f"^interface {link}: there already, and not made by the lab; {remedy}"
    ):
        switch.start("vmbr1")
    assert not paths.RUN.exists()
