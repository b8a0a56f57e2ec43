"""Stacks and a probe run for the report: sound, broken, and with names that contain markup."""

import json
from collections.abc import Iterable
from pathlib import Path

from commands.report import main
from tests.policies.sound import Stack, sound
from verify.report import ProbeReport, as_json
from verify.verdicts import ProbeFinding, Verdict

MARKUP = "</script><img src=https://example.invalid/x onerror=window.broken=1><!--"


def broken() -> Stack:
    """Return the sound stack with Jellyfin's card unfiltered, Grafana on backend, and no Vaultwarden."""
    stack = sound()
    stack.inputs("vm", "jellyfin")["networkDevices"][0]["firewall"] = False
    stack.inputs("container", "grafana")["networksAdvanced"].append({"name": "backend"})
    stack.remove("rules", "vaultwarden")
    return stack


def hostile() -> Stack:
    """Return a stack with a container whose name is markup, possible in a state but in no stack file."""
    stack = sound()
    stack.add("container", MARKUP, {"name": MARKUP, "image": "x", "networksAdvanced": [{"name": "backend"}]})
    return stack


def state(folder: Path, stack: Stack) -> Path:
    """Return the file that `pulumi stack export` would write."""
    resources = [
        {"urn": each.urn, "type": each.type, "inputs": each.inputs}
        | ({"provider": f"{each.provider}::1"} if each.provider else {})
        for each in stack.resources
    ]
    file = folder / "state.json"
    file.write_text(json.dumps({"version": 3, "deployment": {"resources": resources}}))
    return file


def run(folder: Path, stack: str = "dev") -> Path:
    """Return a probe run with every verdict, written by the probe's own code."""
    told = ProbeReport(
        stack=stack, seconds=12.5, findings=list(_findings()), left_out=("management: is here",)
    )
    file = folder / f"verify-{stack}.json"
    file.write_text(as_json(told))
    return file


def page(folder: Path, site: Path, *words: str) -> Path:
    """Return the page of a site."""
    file = folder / "report.html"
    assert main([str(site), "--output", str(file), *words]) == 0
    return file


def _findings() -> Iterable[ProbeFinding]:
    for source, destination, port, expected, got, verdict in (
        ("traefik", "grafana", "3000/tcp", "ALLOWED", "ALLOWED", Verdict.AGREES),
        ("traefik", "grafana", "*/tcp", "EITHER", "ALLOWED", Verdict.FREE),
        ("internet", "loki-gateway", "3100/tcp", "DENIED", "DENIED (silent)", Verdict.AGREES),
        ("site-1", "site-2", "80/tcp", "DENIED", "ALLOWED", Verdict.DISAGREES),
        ("promtail", "loki-gateway", "3100/tcp", "ALLOWED", "DENIED (silent)", Verdict.INCONCLUSIVE),
        ("stranger@frontend", "grafana", "3000/tcp", "EITHER", "ALLOWED", Verdict.FREE),
    ):
        yield ProbeFinding(
            source=source,
            destination=destination,
            what=f"{source} -> {destination}:{port}",
            where="172.30.1.3 on frontend",
            expected=expected,
            got=got,
            verdict=verdict,
            cause="" if verdict in {Verdict.AGREES, Verdict.FREE} else f"{destination} lets in too much",
            control=f"opened {source} -> grafana:3000/tcp",
        )
    yield ProbeFinding(
        source="internet",
        destination="grafana",
        what="https://grafana.homelab.localhost/",
        where="",
        expected="its own page (200 Grafana)",
        got="200 Grafana",
        verdict=Verdict.AGREES,
    )
