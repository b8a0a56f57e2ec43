"""What an engine leaves in the kernel: firewall chains, tables, bridges and forwarding switches.

`snapshot` records the kernel's state before the lab's engine first starts; `restore` removes what it added.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from lab.process import run

NAME = "what the engine left in the kernel"
SWITCHES = (
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/ipv6/conf/all/forwarding"),
    Path("/proc/sys/net/bridge/bridge-nf-call-iptables"),
    Path("/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
)
FIREWALLS = ("iptables", "ip6tables")
BRIDGE = re.compile(r"br-[0-9a-f]{12}")
# Rules that the engine writes: jumps to its chains, rules on its bridges, one masquerade per published port.
# In DOCKER-USER, which is for rules of others, it writes RETURN alone.
ITS_RULE = re.compile(
    rf"^-A DOCKER-USER -j RETURN$|^-A (?!DOCKER-USER)"
    rf"(DOCKER|.* -j DOCKER|.*\b{BRIDGE.pattern}\b|POSTROUTING -s (\S+) -d \2 .*-j MASQUERADE$)"
)
ITS_TABLES = ("ip docker-bridges", "ip6 docker-bridges")
"""Tables that an engine with the nftables backend leaves when it stops."""
IPTABLES = ("filter", "nat", "mangle", "raw", "security")
"""The tables of iptables, which stay when their last rule goes."""

Snapshot = Mapping[str, Mapping[str, list[str]]]


def snapshot() -> Snapshot:
    """Return the current switches, firewall rules, links and tables, as JSON-serializable values."""
    return {
        "switches": {str(file): [file.read_text().strip()] for file in SWITCHES if file.exists()},
        "firewall": {tool: firewall(tool) for tool in FIREWALLS},
        "links": {"all": _links()},
        "tables": {"all": tables()},
    }


def _links() -> list[str]:
    return [link["ifname"] for link in json.loads(run(["ip", "-json", "link"], NAME))]


def tables() -> list[str]:
    """Return nftables' tables as `ip nat`; includes those of iptables-nft."""
    if not shutil.which("nft"):
        return []
    return [line.removeprefix("table ") for line in run(["nft", "list", "tables"], NAME).splitlines()]


def is_bare(table: str) -> bool:
    """Whether a table has no rules; iptables leaves such tables behind, with the base chains it made."""
    listed = json.loads(run(["nft", "--json", "list", "table", *table.split()], NAME))["nftables"]
    return not any("rule" in each for each in listed)


def firewall(tool: str) -> list[str]:
    """Return the rules and chains of every table as `table<TAB>line`, without counters."""
    if not shutil.which(f"{tool}-save"):
        return []
    found, table = [], ""
    for line in run([f"{tool}-save"], NAME).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith((":", "-A")):
            found.append(f"{table}\t{line.partition(' [')[0] if line.startswith(':') else line}")
    return found


def restore(before: Snapshot) -> None:
    """Remove what an engine added since `before`, and reset the switches.

    Only for a machine on which no other engine runs: two engines share chains and bridge names.
    """
    for link in _links():
        if BRIDGE.fullmatch(link) and link not in before["links"]["all"]:
            run(["ip", "link", "delete", link], NAME)
    for tool in FIREWALLS:
        if script := removal(before["firewall"][tool], firewall(tool)):
            run([f"{tool}-restore", "--noflush"], NAME, stdin=script)
    for table in tables():
        if table in before["tables"]["all"] or not table.startswith(("ip ", "ip6 ")):
            continue
        if table in ITS_TABLES or (table.split()[1] in IPTABLES and is_bare(table)):
            run(["nft", "delete", "table", *table.split()], NAME)
    for file, value in before["switches"].items():
        if Path(file).exists() and Path(file).read_text().strip() != value[0]:
            Path(file).write_text(value[0])


def removal(before: list[str], now: list[str]) -> str:
    """Return the `iptables-restore --noflush` script that removes what the engine added since `before`.

    Rules that other programs added since then stay. FORWARD's policy becomes ACCEPT again where the engine
    set DROP.
    """
    script = []
    new = [line.split("\t") for line in now if line not in before]
    for table in dict.fromkeys(table for table, _ in new):
        lines = [line for where, line in new if where == table]
        chains = [line[1:].split()[0] for line in lines if line.startswith(":DOCKER")]
        rules = [line for line in lines if line.startswith("-A") and ITS_RULE.search(line)]
        undo = [f"-D{line[2:]}" for line in rules if shlex.split(line)[1] not in chains]
        undo += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
        if ":FORWARD DROP" in lines:
            undo.insert(0, "-P FORWARD ACCEPT")
        if undo:
            script += [f"*{table}", *undo, "COMMIT"]
    return "\n".join([*script, ""]) if script else ""
