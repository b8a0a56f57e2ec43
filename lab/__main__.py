"""The commands behind the Makefile: tools, env, preview, up, down.

The lab stands in for the hosts of a stack whose Proxmox endpoint is the lab's own API. For any other stack
these commands run Pulumi with the policy pack.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from lab import asking, ending, engine, images, lock, orphans, paths, proxmox, tls, toolchain
from lab.errors import LabError
from lab.process import Interrupted, run, show
from lab.stack import Stack
from preflight import machine
from rendered import host_rules, leg_rules
from rendered.container import cgroups
from topology.config import ConfigError, from_file, keys_of
from topology.model import Certificate, Topology
from topology.notes import notes

PASSPHRASE = "homelab-lab"  # noqa: S105  # of the lab's stack files, which hold no secret of anyone's
_DISK = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "see that this user may write there",
    errno.EPERM: "see that this user may write there",
}
"""Faults of folders that are the user's to mend, and how."""
_STARTED = time.monotonic()


def report(line: str) -> None:
    """Print a progress line with the seconds since the command began."""
    print(f"[{time.monotonic() - _STARTED:4.0f} s] {line}", flush=True)


def again(stack: str, command: str = "up") -> str:
    """Return a command on the stack, as a remedy names it."""
    return f"`make {command} STACK={stack}`"


def stack_file(stack: str) -> Path:
    """Return the path of the stack's configuration file; raises LabError where there is none."""
    for finding in machine.stack_unknown(stack, paths.PROJECT):
        raise LabError(str(finding))
    return paths.PROJECT / f"Pulumi.{stack}.yaml"


def serves(stack: str) -> bool:
    """Whether the lab stands in for the hosts of this stack."""
    config = keys_of(stack_file(stack))
    return str(config.get("proxmoxve:endpoint", "")).rstrip("/") == proxmox.URL


def environment(stack: str) -> dict[str, str]:
    """Return variables for plain `pulumi` and `docker` commands on the stack; the user's own values stay."""
    in_lab = serves(stack)  # before the tool chain, so that a broken stack file is told first
    ours = {
        "HOMELAB_STATE": str(paths.STATE),
        # A kill can leave the state's metadata sidecar empty, and the engine then reads no state at all.
        "PULUMI_BACKEND_URL": f"file://{paths.STATE}?metadata=skip",
        # More than there are cores: most operations wait for a network or for a container's health.
        "PULUMI_PARALLEL": "32",
        **toolchain.environment(),
    }
    if in_lab:
        ours |= {"PULUMI_CONFIG_PASSPHRASE": PASSPHRASE, **proxmox.environment()}
        if host := engine.endpoint():
            ours["DOCKER_HOST"] = host
    theirs = {"PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_PARALLEL"} & os.environ.keys()
    return {key: value for key, value in ours.items() if key not in theirs}


def _all(stack: str) -> dict[str, str]:
    return {**os.environ, **environment(stack)}


def main(words: Sequence[str]) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed, 2 invalid input."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__.partition("\n")[0])
    parser.add_argument("command", choices=["tools", "env", "preview", "up", "down"])
    parser.add_argument("--stack", default="dev", help="the stack: Pulumi.<stack>.yaml (default: dev)")
    parser.add_argument("--yes", action="store_true", help="do not ask before real hosts are changed")
    given = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        agreed = {"yes": True} if given.yes and given.command in {"up", "down"} else {}
        return _COMMANDS[given.command](given.stack, **agreed)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except LabError as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in _DISK:
            raise
        fault = f"{error.filename or 'a disk'}: {error.strerror}"
        print(f"{given.command}: {fault}; {_DISK[error.errno]}, and run it again", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt):
        rest = f"{again(given.stack, given.command)} goes on from here"
        print(f"{given.command}: interrupted; {rest}", file=sys.stderr)
        return 130


def tools(_stack: str) -> int:
    """Install or build the tool chain where it is missing."""
    toolchain.ensure(report)
    return 0


def env(stack: str) -> int:
    """Print the environment as shell commands; makes the state's folder, which Pulumi does not make."""
    try:
        paths.STATE.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise LabError(f"{paths.STATE}: {fault.strerror}; name another folder with HOMELAB_STATE") from fault
    for key, value in environment(stack).items():
        print(f"export {key}={shlex.quote(value)}")
    return 0


def preview(stack: str) -> int:
    """Preview `up` with the policy pack; needs neither root nor Docker nor Proxmox."""
    topology = from_file(stack_file(stack))
    toolchain.ensure(report)
    status = _previewed(stack, _with_secrets(stack, topology))
    _note(stack, topology)
    return status


def _previewed(stack: str, selected: Stack) -> int:
    status = selected.preview()
    changes(stack, selected.last_config())
    return status


def _note(stack: str, topology: Topology) -> None:
    for note in notes(topology, stack_file(stack)):
        print(f"  note: {note}")


def changes(stack: str, before: Mapping[str, Any]) -> None:
    """Print the flows that open and close against the keys of the last `up`'s stack file; none: all open."""
    with TemporaryDirectory(prefix="homelab-network-") as folder:
        file = Path(folder) / f"Pulumi.{stack}.yaml"
        file.write_text(yaml.safe_dump({"config": dict(before)}) if before else "", encoding="utf-8")
        words = [sys.executable, "-m", "commands", "changes", str(file), str(stack_file(stack))]
        try:
            told = run(words, "compare with the last up", env=environment(stack), cwd=paths.PROJECT)
        except LabError as error:
            # The last `up` may be an older version's, whose keys this one does not know.
            told = f"what opens and closes is unknown: {error}"
    print("against the last `up`:", *(f"  {line}" for line in told.splitlines()), sep="\n")


def up(stack: str, *, yes: bool = False) -> int:
    """Start the lab where it serves the stack, create the stack, and print the flow table.

    Real hosts are changed only after consent, which `yes` gives in advance.
    """
    topology = from_file(stack_file(stack))
    if serves(stack) and len(topology.docker_hosts) > 1:
        raise LabError("hosts: the lab has one Docker host, and the stack has several; preview it alone")
    if serves(stack):
        _need_root(stack, "up", "it starts a Docker engine, an Open vSwitch bridge and network namespaces")
    toolchain.ensure(report)
    with _alone(stack):
        return _up(stack, topology, yes=yes)


def _alone(stack: str) -> contextlib.AbstractContextManager[None]:
    """Return the lock of a stack; all stacks that the lab serves have one, since only one can be up."""
    return lock.held("the lab" if serves(stack) else f"stack {stack}", report)


def _up(stack: str, topology: Topology, *, yes: bool) -> int:
    if serves(stack):
        _need_the_lab(stack)
        taken = proxmox.taken(
            [guest.vmid for guest in topology.guests], address=topology.node_interface, **_switch(topology)
        )
        _preflight(stack, "--lab", "--no-hosts", *(f"--also={fault}" for fault in taken))
        lab_up(topology)
    selected = _with_secrets(stack, topology)
    selected.resume()
    _preflight(stack, *(["--lab"] if serves(stack) else []))
    selected.forget_interrupted()
    if not (serves(stack) or yes):
        if status := _previewed(stack, selected):
            raise LabError(f"the preview ended with {status}; mend what it says above")
        asking.consent(ending.consequences(stack, topology), again(stack))
    report(f"pulumi up: stack {stack}, with the policy pack")
    if status := selected.up(*_astray(stack)):
        raise LabError(f"pulumi up ended with {status}; mend what it says above and run {again(stack)} again")
    if serves(stack):
        proxmox.wait_for({guest.vmid for guest in topology.guests}, report)
    report("up")
    status = _verified(stack)
    outputs = selected.outputs()
    _note(stack, topology)
    shown = ending.addresses(stack, topology, outputs, in_lab=serves(stack))
    print("", *ending.flows(topology, outputs), "", *shown, sep="\n")
    if status:
        raise LabError(
            f"the live network is not as declared, see above; mend it and run {again(stack)} again"
        )
    return 0


def down(stack: str, *, yes: bool = False) -> int:
    """Remove the stack's resources, and the lab where it serves the stack; `yes` as in `up`."""
    topology = from_file(stack_file(stack))
    if serves(stack):
        _need_root(stack, "down", "it takes the engine, bridge and namespaces of the lab away")
    toolchain.ensure(report)
    with _alone(stack):
        return _down(stack, topology, yes=yes)


def _down(stack: str, topology: Topology, *, yes: bool) -> int:
    if not serves(stack):
        selected = _selected(stack)
        if topology.proxmox_host:
            report(ending.FIREWALL_STAYS)
        if not yes:
            made = f"stack {stack} removes all that it made, guests with their disks and volumes included"
            asking.consent(made, again(stack, "down"))
        return selected.destroy()
    _need_the_lab(stack)
    _empty(stack, topology)
    proxmox.down(report, **_switch(topology))
    if engine.answers():
        images.remove(engine.endpoint(), report)
    engine.down(report, cgroups(topology))
    _remove_metrics(topology)
    report("down")
    return 0


_COMMANDS: Mapping[str, Callable[..., int]] = {
    "tools": tools, "env": env, "preview": preview, "up": up, "down": down,
}  # fmt: skip


def _selected(stack: str) -> Stack:
    """Make the certificates and return the selected stack."""
    if serves(stack):
        _certificates(from_file(stack_file(stack)))
    (paths.STATE / ".pulumi").mkdir(parents=True, exist_ok=True)
    os.environ.update(asking.passphrase(stack_file(stack), _all(stack)))
    selected = Stack(name=stack, environment=environment(stack), in_lab=serves(stack))
    selected.select()
    return selected


def _with_secrets(stack: str, topology: Topology) -> Stack:
    """Return the selected stack, after a person was asked for the secrets that its file lacks."""
    selected = _selected(stack)
    asking.secrets(asking.missing(stack_file(stack), topology, _all(stack)), selected.set_secret)
    return selected


def _certificates(topology: Topology) -> None:
    """Make the ingress's certificate files in STATE/tls, where the lab's stack files expect them."""
    names = [
        topology.domain,
        f"*.{topology.domain}",
        *(host for route in topology.routes for host in (*route.hosts, *route.redirects)),
    ]
    if isinstance(topology.tls, Certificate):
        tls.leaf(Path(topology.tls.certificate).stem, names)


def lab_up(topology: Topology) -> None:
    """Start the lab's hosts and load the images, without any resource of the stack."""
    images.ensure(_hosts_up(topology), report)


def _hosts_up(topology: Topology) -> str | None:
    """Start the lab's hosts and return the engine's endpoint.

    Routes and bridge come first: a container may need its interface when the engine starts.
    """
    _proxmox_up(topology)
    endpoint = engine.up(report).endpoint
    if topology.node_interface:
        proxmox.let_through()
    return endpoint


def _proxmox_up(topology: Topology) -> None:
    proxmox.up(
        report,
        prefixes=[IPv4Network(zone.prefix) for zone in topology.zones.values()],
        address=topology.node_interface,
        **_switch(topology),
    )


def _switch(topology: Topology) -> dict[str, Any]:
    """Return what the lab's switch is made of: its bridge, and the interfaces on its VLANs."""
    return {
        "bridge": topology.proxmox.bridge,
        "trunk": topology.docker.trunk or "",
        "vlans": [zone.vlan or 0 for zone in topology.vlans],
    }


def _empty(stack: str, topology: Topology) -> None:
    """Destroy the stack's resources while its hosts run; a stopped host can't remove any."""
    known = "PULUMI_BACKEND_URL" in os.environ or (paths.STATE / ".pulumi" / "stacks").is_dir()
    if not known or not _selected(stack).deployment().get("resources"):
        _refuse_what_no_state_knows(stack, topology)
        return
    selected = _selected(stack)
    if engine.is_abandoned():
        report("what the lab's own engine ran goes with its data; the engine that runs now is asked nothing")
        selected.forget("docker")
        _proxmox_up(topology)
    else:
        _hosts_up(topology)
    if status := selected.destroy():
        raise LabError(
            f"pulumi destroy ended with {status}; run {again(stack)} and then {again(stack, 'down')} again"
        )


def _refuse_what_no_state_knows(stack: str, topology: Topology) -> None:
    """Raise LabError where the user's engine has containers or networks of the stack, which stays up then."""
    if engine.is_ours() or not engine.answers():
        return
    containers, networks = orphans.labelled(stack, engine.endpoint())
    if not (containers or networks):
        return
    steps = [f"docker rm --force {' '.join(containers)}"] if containers else []
    steps += [f"docker network rm {' '.join(networks)}"] if networks else []
    steps += [host_rules.remove(topology), *([leg_rules.remove(topology)] if topology.legs.every else [])]
    steps += [host_rules.close_probes(topology)] if topology.probes else []
    raise LabError(
        f"stack {stack}: {', '.join([*containers, *networks])} have its label, and the state in "
        f"{paths.STATE} has nothing of it; name the state that made them with HOMELAB_STATE or "
        f"PULUMI_BACKEND_URL, or, if it is lost, run `{'; '.join(steps)}` (volumes keep their data) "
        f"and {again(stack, 'down')} again"
    )


def _remove_metrics(topology: Topology) -> None:
    """Remove the metrics folder, made by the engine for a bind mount, and the lab's data folder if empty."""
    if Path(topology.docker.metrics).is_relative_to(paths.DATA):
        shutil.rmtree(topology.docker.metrics, ignore_errors=True)
    with contextlib.suppress(OSError):
        paths.DATA.rmdir()


def _astray(stack: str) -> list[str]:
    """Return the resources to recreate: changed by hand where a refresh can't see it. Lab only."""
    if not serves(stack):
        return []
    words = [sys.executable, "-m", "commands", "stale", "--stack", stack]
    return run(words, "Docker-SRV", env=environment(stack), cwd=paths.PROJECT).split()


def _preflight(stack: str, *options: str) -> None:
    """Run the pre-flight; raise where anything prevents the first change, after all findings are printed."""
    words = [sys.executable, "-m", "commands", "preflight", "--stack", stack, *options]
    if show(words, cwd=paths.PROJECT, env=environment(stack)):
        raise LabError(
            f"nothing of the stack was changed; do what the lines above say and run {again(stack)} again"
        )


def _verified(stack: str) -> int:
    """Probe the lab's network; for real hosts the probe is a separate command."""
    if not serves(stack):
        report(f"verify: run `make verify STACK={stack}` on Docker-SRV, or with vantages from here")
        return 0
    report("verify: every source to every destination")
    words = [
        sys.executable,
        "-m",
        "commands",
        "verify",
        "--stack",
        stack,
        "--json",
        f"verify-{stack}.json",
        "--metrics",
    ]
    return show(words, cwd=paths.PROJECT, env=environment(stack))


def _need_root(stack: str, command: str, why: str) -> None:
    if os.geteuid():
        raise LabError(f"needs root: {why}; run `sudo make {command} STACK={stack}`")


def _need_the_lab(stack: str) -> None:
    """Raise where another of the lab's stacks is up, or the lab's two hosts and VLANs don't fit the stack."""
    site = from_file(stack_file(stack))
    if len(site.hosts) == 1 or site.lans:
        what = "guests on a shared network" if site.lans else "one host"
        raise LabError(f"stack {stack} has {what}, and the lab two hosts with VLANs; name real hosts")
    for file in sorted(paths.PROJECT.glob("Pulumi.*.yaml")):
        other = file.name.split(".")[1]
        if other != stack and _holds_something(other) and serves(other):
            raise LabError(f"stack {other} is up in the lab; run {again(other, 'down')} first")


def _holds_something(stack: str) -> bool:
    """Whether the state of a stack has resources; raises LabError where it can't be read.

    Of a backend that is no folder the answer is no.
    """
    backend = os.environ.get("PULUMI_BACKEND_URL") or f"file://{paths.STATE}"
    state = machine.folder_of(backend) / f".pulumi/stacks/homelab-network/{stack}.json"
    try:
        latest = json.loads(state.read_text(encoding="utf-8"))["checkpoint"]["latest"] or {}
        return bool(latest.get("resources"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise LabError(
            f"{state}: is no state of Pulumi; put {state.name}.bak in its place, or remove it if nothing "
            f"of stack {stack} is there any more"
        ) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
