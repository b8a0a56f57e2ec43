"""What Proxmox logged of observed guests, and what `suggest` makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import suggest
from lab import paths, tls
from lab.proxmox import firewall_log
from lab.proxmox.api import Proxmox
from survey.proxmox_api import ProxmoxApi
from tests.site import PREFIX, changed, whole
from tests.unit.test_lab_proxmox import TOKEN, served
from topology.config import load
from verify import guest_log, inventory
from verify.driver import ProbeError

NOW = datetime(2026, 12, 1, 16, 0, tzinfo=UTC)
OBSERVED: dict[str, Any] = {
    f"services.{name}.observed-until": "2099-01-15" for name in ("jellyfin", "site-1")
}
SITE = load(changed(OBSERVED))
TCP = "LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=28170 DF PROTO=TCP SPT=55054 DPT={} SEQ=1 ACK=0 WINDOW=64240 {} "
MACS = "MAC=bc:24:11:00:00:c9:bc:24:11:00:00:65:08:00"


def line(
    source: str, to: str, port: int, *, flags: str = "SYN", vmid: int = 201, minute: int = 55, way: str = "IN"
) -> str:
    """Return a line as pvefw-logger prints it of a TCP packet."""
    bridges = "IN=fwbr201i0 OUT=fwbr201i0 PHYSIN=fwln201i0 PHYSOUT=tap201i0"
    ends = f"SRC={source} DST={to} {TCP.format(port, flags)}"
    return f"{vmid} 6 tap{vmid}i0-{way} 01/Dec/2026:17:{minute}:00 +0200 ACCEPT: {bridges} {MACS} {ends}"


UDP = (
    "201 6 tap201i0-OUT 01/Dec/2026:16:00:00 +0200 ACCEPT: IN=fwbr201i0 OUT=fwbr201i0 SRC=10.10.20.11 "
    "DST=9.9.9.9 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=7 PROTO=UDP SPT=40000 DPT=53 LEN=40"
)
PING = (
    "201 6 tap201i0-IN 01/Dec/2026:17:59:00 +0200 ACCEPT: SRC=10.10.20.12 DST=10.10.20.11 LEN=84 TOS=0x00 "
    "PREC=0x00 TTL=64 ID=1 DF PROTO=ICMP TYPE=8 CODE=0 ID=9 SEQ=1 "
)
IPV6 = (
    "201 6 tap201i0-OUT 01/Dec/2026:17:59:00 +0200 PVEFW-SET-ACCEPT-MARK: SRC=fe80::1 DST=ff02::fb LEN=60 "
    "TC=0 HOPLIMIT=255 FLOWLBL=0 PROTO=UDP SPT=5353 DPT=5353 LEN=40"
)
POLICY = line("10.10.20.12", "10.10.20.11", 23).replace("ACCEPT: ", "policy DROP: ")


def read(*lines: str) -> guest_log.GuestLog:
    """Return what lines say about the site's observed guests."""
    return guest_log.read(SITE, lines, NOW)


def test_first_packets_of_observed_guests_count() -> None:
    """Packets of one connection's kind are one try with their number and the youngest age, both ways."""
    first = line("10.10.20.12", "10.10.20.11", 8096, minute=50)
    found = read(first, line("10.10.20.12", "10.10.20.11", 8096), UDP)
    assert [(str(each), each.packets, each.ago) for each in found.tried] == [
        ("10.10.20.12 -> 10.10.20.11:8096/tcp", 2, timedelta(minutes=5)),
        ("10.10.20.11 -> 9.9.9.9:53/udp", 1, timedelta(hours=2)),
    ]
    assert (found.others, found.age) == (0, timedelta(hours=2))


@pytest.mark.parametrize("flags", ["ACK", "SYN ACK", "ACK FIN", "RST"])
def test_part_of_an_old_connection_is_no_try(flags: str) -> None:
    """A packet within a connection, which may go either way, is counted with pings and IPv6."""
    found = read(line("10.10.20.11", "10.10.20.12", 40000, flags=flags), PING, IPV6)
    assert (found.tried, found.others) == ((), 3)


@pytest.mark.parametrize(
    "text",
    [
        POLICY,
        line("10.10.20.12", "10.10.20.11", 80, vmid=202),
        line("10.10.20.12", "10.10.20.11", 80, vmid=0),
        UDP.partition(" DPT")[0],
        line("10.10.20.1x", "10.10.20.11", 80),
        line("10.10.20.12", "10.10.20.11", 80).replace("Dec", "Dez"),
        "0 5 - 01/Dec/2026:17:00:00 +0200 starting pvefw logger",
        "no content",
        "",
    ],
)
def test_other_lines_are_skipped(text: str) -> None:
    """Drops, other guests' packets, lines that were cut off and the logger's own words say nothing."""
    assert read(text) == guest_log.GuestLog(tried=(), others=0, age=None)


def stack(folder: Path) -> Path:
    """Write a stack file with the observed guests."""
    config = whole() | {f"{PREFIX}{key}": value for key, value in changed(OBSERVED).items()}
    file = folder / "Pulumi.x.yaml"
    file.write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
    return file


def said(folder: Path, *lines: str) -> list[str]:
    """Return what the command prints about guests."""
    return [*suggest.of_guests(stack(folder), SITE, read(*lines))]


def test_each_try_is_a_line_that_declares_it(tmp_path: Path) -> None:
    """A try has its ends by name and the line for the stack file; a declared flow has none."""
    tries = [line("10.10.20.12", "10.10.20.11", 8096), line("10.10.20.2", "10.10.20.11", 8096)]
    made = said(tmp_path, *tries, line("10.10.1.9", "10.10.20.11", 8096), PING)
    assert made[0] == "# undeclared flows of observed guests that passed and were logged in the last 5 min: 2"
    assert "    - stirling-pdf -> jellyfin:8096/tcp  # 1 packet, the last 5 min ago" in made
    assert "    - management -> jellyfin:8096/tcp  # 1 packet, the last 5 min ago" in made
    assert made[-1] == "# other packets of theirs, which no flow is (pings, IPv6, old connections): 1"
    assert said(tmp_path) == ["# undeclared flows of observed guests that passed and were logged: 0"]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxmox]:
    """The lab's API, whose node has a log of four lines, the first of them 40 days old."""
    for name in ("STATE", "RUN"):
        monkeypatch.setattr(paths, name, tmp_path)
    old = line("10.10.20.12", "10.10.20.11", 22).replace("01/Dec", "22/Oct")
    text = [old, *(line("10.10.20.12", "10.10.20.11", port) for port in (80, 81, 82))]
    firewall_log.path().write_text("".join(f"{each}\n" for each in text), encoding="utf-8")
    with served(tmp_path / "api.json", []) as (_, node):
        yield node


def asked(api: Proxmox, token: str = TOKEN) -> list[str]:
    """Return the lines that the API gives of the last 30 days."""
    with closing(ProxmoxApi(api.url, token, trust=str(tls.bundle()))) as found:
        return [*suggest.logged(found, SITE, NOW - timedelta(days=30))]


@pytest.mark.parametrize("page", [2, 3, 5000])
def test_the_log_is_read_whole(api: Proxmox, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    """Every line of the last 30 days is read, however many the API gives at once."""
    monkeypatch.setattr(suggest, "_PAGE", page)
    assert [str(each) for each in read(*asked(api)).tried] == [
        f"10.10.20.12 -> 10.10.20.11:{port}/tcp" for port in (80, 81, 82)
    ]


def test_a_token_without_the_right_is_told_so(api: Proxmox) -> None:
    """The API refuses a log to a token without Sys.Syslog, and the message names the right and the path."""
    api.apitokens["other@pve!log"] = "0b6f2a0e-0000-4000-8000-000000000001"
    with pytest.raises(ProbeError, match=r"grant the token Sys\.Syslog on /nodes/pve1, beside what"):
        asked(api, "other@pve!log=0b6f2a0e-0000-4000-8000-000000000001")
    api.grant("other@pve", "/nodes/pve1", "Sys.Syslog")
    assert len(asked(api, "other@pve!log=0b6f2a0e-0000-4000-8000-000000000001")) >= 2


def configured(monkeypatch: pytest.MonkeyPatch, keys: dict[str, str]) -> None:
    """Let the stack x have keys of proxmoxve in its configuration, and the environment none."""

    def run(*words: str) -> str:
        key = words[3]
        if words != ("pulumi", "config", "get", key, "--stack", "x", "--non-interactive") or key not in keys:
            raise ProbeError(f"{key}: is not found; set it")
        return f"{keys[key]}\n"

    monkeypatch.setattr(inventory, "run", run)
    for word in ("ENDPOINT", "API_TOKEN"):
        monkeypatch.delenv(f"PROXMOX_VE_{word}", raising=False)


def test_the_api_may_be_the_stacks_own(
    api: Proxmox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without variables the command asks the API of the stack's configuration, as `make drift` does."""
    monkeypatch.setattr(suggest, "PROJECT", stack(tmp_path).parent)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.bundle()))
    configured(monkeypatch, {"proxmoxve:endpoint": f"{api.url}/", "proxmoxve:apiToken": TOKEN})
    suggest.main(["--stack", "x"])
    assert "# undeclared flows of observed guests that passed" in capsys.readouterr().out


def test_the_command_reads_both(
    api: Proxmox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Docker-SRV's rules the command ends with 2, and prints what guests tried all the same."""
    monkeypatch.setattr(suggest, "PROJECT", stack(tmp_path).parent)
    monkeypatch.setenv("DOCKER_HOST", "ssh://you@docker-srv")
    configured(monkeypatch, {})
    assert suggest.main(["--stack", "x"]) == 2
    told = "Guests are observed, and their log needs PROXMOX_VE_ENDPOINT and PROXMOX_VE_API_TOKEN, or the"
    assert told in capsys.readouterr().err
    now = f"{datetime.now(UTC):%d/%b/%Y:%H:%M:%S %z}"
    today = line("10.10.20.12", "10.10.20.11", 8096).replace("01/Dec/2026:17:55:00 +0200", now)
    firewall_log.path().write_text(f"{today}\n", encoding="utf-8")
    monkeypatch.setenv("PROXMOX_VE_ENDPOINT", api.url)
    monkeypatch.setenv("PROXMOX_VE_API_TOKEN", TOKEN)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.bundle()))
    assert suggest.main(["--stack", "x"]) == 2
    printed = capsys.readouterr()
    assert "DOCKER_HOST: docker-srv is another machine; run suggest there" in printed.err
    assert "    - stirling-pdf -> jellyfin:8096/tcp  # 1 packet" in printed.out
