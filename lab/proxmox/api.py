"""The lab's Proxmox API: `fakepve` extended with what the real provider needs and `fakepve` lacks.

It also keeps its state in a file. It does not act on what it holds: `plane` does, rules included. Note: tasks
end before their request is answered (`time_scale` 0), so the file never holds a task in progress. The file is
written before the answer, so a kill loses nothing that a client was told.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from aiohttp import web
from fakepve import FakeCt, FakePve, FakeVm, PveError, TaskError
from fakepve import schema as pve_schema
from fakepve.lxc import format_size
from fakepve.qemu import DRIVE_KEY, NEW_DISK, join_drive, split_drive, with_mac
from fakepve.routing import param_error

from lab.daemon import write
from lab.proxmox import firewall_log
from lab.proxmox.firewall import node_ruleset, ruleset
from lab.proxmox.guests import LabGuest, read_guest
from lab.proxmox.privileges import GRANTS, LOGS

NODE = "pve1"
TEMPLATE = 9000
ARCHIVE = "vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"
"""The template of containers, on storage `local`."""
_MACHINE = "/nodes/{node}/qemu/{vmid}"
_NETWORK = "/nodes/{node}/network"
_VM_FIELDS = ("vmid", "name", "node", "status", "qmpstatus", "config", "pending", "template", "lock")
_CT_FIELDS = ("vmid", "node", "status", "config", "pending", "snapshots")
_log = logging.getLogger("api")
# Keys of an interface that PVE lists as strings although it takes numbers.
_LISTED_AS_TEXT = ("mtu", "vlan-id")


class Proxmox(FakePve):  # type: ignore[misc] # fakepve carries no types
    """One node, one template of machines and one of containers, one API token `user@realm!name=secret`.

    All state is in the file `state`; `changed` is called after each request that may write.
    """

    def __init__(self, *, token: str, state: Path, changed: Callable[[], None], port: int = 8006) -> None:
        # Password login is unused, so the password is random and not kept.
        super().__init__(password=secrets.token_urlsafe(), host="127.0.0.1", port=port)
        name, _, secret = token.partition("=")
        self.apitokens[name] = secret
        for path, privileges in {**GRANTS, **LOGS}.items():
            self.grant(name.partition("!")[0], path, *privileges)
        self._noted: set[str] = set()
        self.max_requests = 100
        self.networks: dict[str, dict[str, Any]] = {
            "vmbr0": {"type": "bridge", "autostart": 1, "cidr": "192.0.2.11/24", "comments": "management"}
        }
        self.storages["local"]["content"] = "iso,vztmpl,backup,snippets,import"
        self._state, self._changed, self._kept = state, changed, ""
        if state.exists():
            self._load(json.loads(state.read_text()))
        else:
            self._add_template()
        archive = {"content": "vztmpl", "format": "tzst", "size": 128 * 1024**2, "ctime": 0}
        self.storages["local"].setdefault("volumes", {})[ARCHIVE] = archive

    def guests(self, bridge: str) -> dict[LabGuest, str]:
        """Return the started guests with their rules; a card is plugged in if the node has its bridge."""
        bridges = {bridge} & set(self.networks)
        found = [
            read_guest(one.vmid, one.name, one.config, bridges, lxc=isinstance(one, FakeCt))
            for one in (*self.vms, *self.cts)
            if one.status == "running"
        ]
        datacenter = self.firewall_config("cluster")
        return {one: ruleset(one, datacenter, self.firewall_config("vm", vmid=one.vmid)) for one in found}

    def node_rules(self, local: IPv4Network) -> str:
        """Return the rules of the node itself, whose own network is `local`."""
        return node_ruleset(local, self.firewall_config("cluster"), self.firewall_config("host", node=NODE))

    # ------------------------------------------------------------ state

    async def _answer(self, request: web.Request, *rest: Any) -> Any:
        if match := self.resolve(request, "/api2/json"):
            self._note(f"{request.headers.get('User-Agent')} called {request.method} {match.template}")
        response = await super()._answer(request, *rest)
        if request.method not in ("GET", "HEAD"):
            self._keep()
            self._changed()
        return response

    def _note(self, what: str) -> None:
        """Log the message once."""
        if what not in self._noted:
            self._noted.add(what)
            _log.info(what)

    def _keep(self) -> None:
        pools = {name: {"vmids": sorted(ids), **self._pool(name)} for name, ids in self.pools.items()}
        held = {
            "vms": [{field: getattr(vm, field) for field in (*_VM_FIELDS, "snapshots")} for vm in self.vms],
            "cts": [{field: getattr(ct, field) for field in _CT_FIELDS} for ct in self.cts],
            "firewall": self._fw(),
            "storages": {name: {**s, "files": sorted(s["files"])} for name, s in self.storages.items()},
            "pools": pools,
            "networks": self.networks,
        }
        text = json.dumps(held, indent=1)
        if text != self._kept:
            write(self._state, text, 0o600)
            self._kept = text

    def _load(self, held: dict[str, Any]) -> None:
        for fields in held["vms"]:
            vm = FakeVm(fields["vmid"], fields["name"])
            vars(vm).update(fields)
            self.vms.append(vm)
        # A file of an older lab has no containers.
        for fields in held.get("cts", []):
            ct = FakeCt(fields["vmid"], status=fields["status"], defaults=False)
            vars(ct).update(fields)
            self.cts.append(ct)
        firewall = held["firewall"]
        firewall["guests"] = {int(vmid): conf for vmid, conf in firewall["guests"].items()}
        self._fw_state = firewall
        self.storages = {name: {**s, "files": set(s["files"])} for name, s in held["storages"].items()}
        for name, pool in held["pools"].items():
            self.pools[name] = set(pool["vmids"])
            self.pool_info[name] = {"comment": pool["comment"], "storage": set(pool["storage"])}
        self.networks = held["networks"]

    def _pool(self, name: str) -> dict[str, Any]:
        meta = self._pool_meta(name)
        return {"comment": meta["comment"], "storage": sorted(meta["storage"])}

    def _add_template(self) -> None:
        """Add the template that machines are cloned from: one small disk, as in a cloud image."""
        volume = f"base-{TEMPLATE}-disk-0"
        size = 2 * 1024**3
        disk = {"content": "images", "format": "raw", "size": size, "vmid": TEMPLATE, "ctime": 0}
        self.storages["local-lvm"]["volumes"] = {volume: disk}
        config = {
            "scsi0": f"local-lvm:{volume},size=2G",
            "boot": "order=scsi0",
            "scsihw": "virtio-scsi-pci",
            "ostype": "l26",
            "cores": 1,
            "sockets": 1,
            "memory": "512",
            "template": 1,
        }
        self.add_vm(TEMPLATE, "debian-12-template", node=NODE, template=True, config=config)

    # ------------------------------------------------------------ machines

    async def _apply_config(self, vm: Any, user: str, p: dict[str, Any]) -> None:
        """Keep values typed, give cards a MAC and drives a volume, and plug cards into a running machine.

        `fakepve` keeps the form's strings ("2" for 2), a bare `virtio,bridge=…`, and the request's
        `x:cloudinit`. It also leaves a running machine's new card pending, although PVE's default `hotplug`
        includes `network`.
        """
        spec = pve_schema.load().paths[_MACHINE + "/config"]["PUT"]["parameters"]
        typed: dict[str, Any] = {**p, **{k: v for k, v in pve_schema.validate(spec, p)[0].items() if k in p}}
        for key, value in typed.items():
            if re.fullmatch(r"net\d+", key):
                typed[key] = with_mac(value)
            elif DRIVE_KEY.match(key):
                typed[key] = self._drive(vm, key, str(value))
        await super()._apply_config(vm, user, typed)
        for key in [key for key in vm.pending if re.fullmatch(r"net\d+", key)]:
            value = vm.pending.pop(key)
            if value is None:
                vm.config.pop(key, None)
            else:
                vm.config[key] = value

    def _drive(self, vm: Any, key: str, value: str) -> str:
        volume, options = split_drive(value)
        if volume.endswith(":cloudinit"):
            store = volume.partition(":")[0]
            return f"{store}:vm-{vm.vmid}-cloudinit,media=cdrom,size=4M"
        if NEW_DISK.match(volume):
            new: str = self._qm_new_drive(vm.vmid, key, value, None)[0]
            return new
        if options.get("size", "").isdigit():
            # PVE takes bytes and keeps the largest unit that divides them. fakepve reads a bare number as
            # gibibytes and reports sizes that exceed a signed 64-bit integer.
            options["size"] = format_size(int(options["size"]))
        joined: str = join_drive(volume, options)
        return joined

    async def _resize(self, v: dict[str, Any], user: str) -> str:
        vm = self.find(v["node"], v["vmid"])
        if v["disk"] not in vm.config:
            raise param_error(disk=f"disk '{v['disk']}' does not exist")
        volume, options = split_drive(vm.config[v["disk"]])

        async def body() -> None:
            # `+` grows a disk by a size; the provider never sends it.
            if v["size"].startswith("+"):
                raise TaskError("the lab resizes to a size, not by one")
            resized = join_drive(volume, {**options, "size": v["size"]})
            vm.config[v["disk"]] = self._drive(vm, v["disk"], resized)

        upid: str = await self.task(vm.node, "resize", vm.vmid, user, body, vm=vm)
        return upid

    async def _do_start(self, vm: Any, user: str, p: dict[str, Any]) -> Any:
        """Refuse a machine whose bridge the node doesn't have, as PVE's network script does."""
        vm.start_error = self._missing_bridge(vm)
        return await super()._do_start(vm, user, p)

    async def _start_steps(self, ct: Any, user: str, skiplock: bool = False) -> None:
        """Refuse a container whose bridge the node doesn't have, as for machines."""
        ct.start_error = self._missing_bridge(ct)
        await super()._start_steps(ct, user, skiplock)

    def _drop(self, ct: Any) -> None:
        """Remove a container with its firewall, as PVE does."""
        super()._drop(ct)
        self._fw()["guests"].pop(ct.vmid, None)

    def _missing_bridge(self, guest: Any) -> str | None:
        cards = [str(value) for key, value in guest.config.items() if re.fullmatch(r"net\d+", key)]
        named = [found[1] for card in cards if (found := re.search(r"bridge=([^,]+)", card))]
        missing = [bridge for bridge in named if bridge not in self.networks]
        return f"bridge '{missing[0]}' does not exist" if missing else None

    # ------------------------------------------------------------ answers

    async def _fw_rule_get(self, scope: str, v: dict[str, Any], user: str) -> dict[str, Any]:
        """Return the position as text: PVE's schema declares a number, PVE itself sends a string."""
        rule = await super()._fw_rule_get(scope, v, user)
        return {**rule, "pos": str(rule["pos"])}

    async def answer(
        self, request: web.Request, match: Any, params: dict[str, Any], user: str, call: Any = None
    ) -> Any:
        """Take `delete=a&delete=b`, which the provider sends for containers, as `delete=a,b`, as PVE does."""
        if isinstance(named := params.get("delete"), list):
            params = {**params, "delete": ",".join(named)}
        return await super().answer(request, match, params, user, call)

    async def _lxc_config_get(self, user: str, v: dict[str, Any]) -> dict[str, Any]:
        """End a container's notes with a newline, as PVE's configuration file does."""
        config = await super()._lxc_config_get(user, v)
        notes = {"description": f"{config['description'].rstrip()}\n"} if "description" in config else {}
        return {**config, **notes}

    # ------------------------------------------------------------ routes

    def _register_stateful(self, router: web.UrlDispatcher, prefixes: Sequence[str]) -> None:
        """Also route a machine's DELETE with the trailing slash that the provider sends."""
        super()._register_stateful(router, prefixes)
        for prefix in prefixes:
            router.add_delete(f"{prefix}{_MACHINE}/", self._stateful_handler(_MACHINE, self._qm_destroy))

    def _routes_lab(self) -> list[tuple[str, str, Any]]:
        one = _NETWORK + "/{iface}"
        return [
            ("GET", "/nodes/{node}/time", self._time),
            ("GET", "/nodes/{node}/firewall/log", self._firewall_log),
            ("GET", _NETWORK, self._network_list),
            ("POST", _NETWORK, self._network_create),
            ("PUT", _NETWORK, self._network_reload),
            ("GET", one, self._network_read),
            ("PUT", one, self._network_update),
            ("DELETE", one, self._network_delete),
            ("PUT", _MACHINE + "/resize", self._resize),
        ]

    async def _time(self, _v: dict[str, Any], _user: str) -> dict[str, Any]:
        """Answer with the machine's own clock, in place of a sample from the schema."""
        now = int(time.time())
        return {"time": now, "localtime": now, "timezone": "UTC"}

    async def _firewall_log(self, v: dict[str, Any], _user: str) -> list[dict[str, Any]]:
        """Answer with a part of the log, 50 lines by default; an empty one is a line that says so."""
        start, limit, since = (int(v.get(key) or 0) for key in ("start", "limit", "since"))
        part = firewall_log.lines(since)[start : start + (limit or 50)] or ["no content"]
        return [{"n": number, "t": text} for number, text in enumerate(part, start + 1)]

    async def _network_list(self, v: dict[str, Any], _user: str) -> list[dict[str, Any]]:
        listed = enumerate(self.networks.items(), 3)
        entries = [{**_listed(conf), "iface": name, "priority": n} for n, (name, conf) in listed]
        return [entry for entry in entries if v.get("type") in (None, "any_bridge", entry["type"])]

    async def _network_read(self, v: dict[str, Any], _user: str) -> dict[str, Any]:
        return _listed(self._network(v["iface"]))

    async def _network_create(self, v: dict[str, Any], _user: str) -> None:
        if v["iface"] in self.networks:
            raise param_error(iface="interface already exists")
        self.networks[v["iface"]] = _interface(v)

    async def _network_update(self, v: dict[str, Any], _user: str) -> None:
        self._network(v["iface"])
        self.networks[v["iface"]] = _interface(v)

    async def _network_delete(self, v: dict[str, Any], _user: str) -> None:
        self._network(v["iface"])
        del self.networks[v["iface"]]

    async def _network_reload(self, v: dict[str, Any], user: str) -> str:
        async def body() -> None:
            """Do nothing: each change is in force since its own request."""

        return str(await self.task(v["node"], "srvreload", "networking", user, body))

    def _network(self, iface: str) -> dict[str, Any]:
        if iface not in self.networks:
            raise PveError(400, "Parameter verification failed.", {"iface": "interface does not exist"})
        return self.networks[iface]


def _interface(v: dict[str, Any]) -> dict[str, Any]:
    """Return an interface as PVE keeps it; a VLAN-aware bridge without `bridge_vids` carries 2-4094."""
    kept = {key: value for key, value in v.items() if key not in ("node", "iface", "delete", "digest")}
    if kept.get("bridge_vlan_aware"):
        kept.setdefault("bridge_vids", "2-4094")
    return kept


def _listed(conf: dict[str, Any]) -> dict[str, Any]:
    text = {key: str(conf[key]) for key in _LISTED_AS_TEXT if key in conf}
    address = {"address": conf["cidr"].partition("/")[0], "method": "static"} if "cidr" in conf else {}
    return {"active": 1, "exists": 1, "method": "manual", "families": ["inet"], **conf, **text, **address}
