"""The report without a browser: its content, its picture, its flowchart, and no secrets."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from itertools import combinations, groupby
from math import dist
from operator import mul
from pathlib import Path
from typing import Any

import pytest

from bench.sites import keys
from commands import flows as command
from commands.report import judged, main
from policies.rule import RULES
from report import model
from report.drawing import Box, Drawing, draw
from report.mermaid import flowchart
from report.model import Report, State
from report.verification import Probe, Verification
from resources.resource import from_state
from tests import docker_hosts
from tests.browser.samples import MARKUP, broken, hostile, page, run, state
from tests.half import docker_alone, flat, proxmox_alone
from tests.mistakes import WIDE
from tests.policies.sound import CANARY, TODAY, Stack, sound
from tests.routers import attached, routed
from tests.site import FILE, configuration, loaded
from topology.config import from_file, load
from topology.model import PolicyException, Topology
from topology.project import PROJECT
from verify import report as verify
from verify import since


def data(file: Path) -> Any:
    """Return the data that a page holds for its script, with the answers in their cells."""
    _, _, rest = file.read_text().partition('<script type="application/json" id="data">')
    told = json.loads(rest.partition("</script>")[0])
    answers = [{"way": [], "reasons": [], "notes": [], "why": "", **each} for each in told["answers"]]
    told["cells"] = [[[answers[index] for index in cell] for cell in row] for row in told["cells"]]
    return told


def of(stack: Stack) -> Report:
    """Return the report of a stack."""
    topology = stack.topology or load(stack.config)
    return judged("dev", TODAY, stack.resources, topology)


# -------------------------------------------------------------------------------------------- content


@pytest.mark.parametrize("make", [sound, broken, hostile])
def test_the_matrix_is_what_the_command_lists(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row, column and ports of the page are those of `commands list`."""
    file = state(tmp_path, make())
    assert command.main(["list", str(file)]) == 0
    listed = {
        (f"{source} => {to}", port)
        for line in capsys.readouterr().out.splitlines()
        if not line.startswith("#")
        for sources, _, rest in [line.strip().partition(" => ")]
        for to, _, ports in [rest.partition(" : ")]
        for source in sources.split(", ")
        for port in ports.split(", ")
    }
    told = data(page(tmp_path, file))
    names = [each["name"] for each in told["names"]]
    shown = {
        (f"{names[source]} => {names[to]}", port)
        for source, row in enumerate(told["cells"])
        for to, answers in enumerate(row)
        for answer in answers
        if answer["way"]
        for port in answer["ports"]
    }
    assert shown == listed


def test_rows_stand_by_zone() -> None:
    """Outsides come first, services by their first zone, then hosts, then undeclared names."""
    found = of(hostile()).names
    zones = ["edge", "frontend", "query", "backend", "probe", "wordpress", "apps", "vault"]
    assert [group for group, _ in groupby(found.values())] == ["outside", *zones, "hosts", "undeclared"]
    assert (list(found)[:2], found["loki"], found[MARKUP]) == (
        ["internet", "management"],
        "backend",
        "undeclared",
    )


@pytest.mark.parametrize("make", [sound, broken])
def test_a_large_site_leaves_out_what_is_denied(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a number of names, the page has the same cells without those in which all is denied."""
    whole = of(make()).data(None)
    monkeypatch.setattr(model, "_WHOLE", 5)
    folded = of(make()).data(None)
    pairs: dict[tuple[int, int], list[Any]] = {}
    for told in (whole, folded):
        for source, row in enumerate(told["cells"]):
            for to, cell in row.items() if isinstance(row, dict) else enumerate(row):
                answers = [told["answers"][index] for index in cell]
                if any(answer["state"] != State.DENIED for answer in answers):
                    pairs.setdefault((source, to), []).append(answers)
    assert [pair for pair, (first, *rest) in pairs.items() if rest != [first]] == []
    assert (whole["most"], folded["most"]) == (None, 5)
    assert sum(map(len, folded["cells"])) == len(pairs)


def test_every_port_of_a_pair_is_answered_once() -> None:
    """A cell has one answer for each declared port and one for all others."""
    report = of(sound())
    (traefik,) = {tuple(p for a in report.answers("internet", "traefik") for p in a.ports)}
    assert sorted(traefik) == ["*", "443/tcp", "80/tcp"]


@pytest.mark.parametrize(
    ("source", "destination", "port", "wanted", "why"),
    [
        ("internet", "traefik", "443/tcp", State.DECLARED, "declared"),
        ("internet", "grafana", "3000/tcp", State.PROXIED, "by way of traefik"),
        ("management", "traefik", "443/tcp", State.FOLLOWS, "declared for the internet"),
        ("loki", "cadvisor", "8080/tcp", State.DENIED, ""),
        ("docker-srv", "proxmox-srv", "22/tcp", State.FOLLOWS, "from a host"),
        ("internet", "loki", "3100/tcp", State.DENIED, ""),
        ("traefik", "jellyfin", "*", State.UNDECLARED, "not declared"),
        ("traefik", "vaultwarden", "80/tcp", State.MISSING, "declared, but not possible"),
    ],
)
def test_a_connection_stands_as_it_is(
    source: str, destination: str, port: str, wanted: State, why: str
) -> None:
    """Declared, implied, undeclared, missing and denied connections have different states."""
    (answer,) = [a for a in of(broken()).answers(source, destination) if port in a.ports]
    assert (answer.state, answer.why[: len(why)], bool(answer.way)) == (
        wanted, why, wanted not in {State.DENIED, State.MISSING},
    )  # fmt: skip


def test_a_denial_names_the_rule_that_denies() -> None:
    """A denied cell has the reasons of `explain`."""
    (answer,) = of(sound()).answers("site-1", "site-2")
    assert answer.reasons == ("output policy of site-1: DROP", "input policy of site-2: DROP")


def test_a_cell_holds_what_the_pack_says_about_it() -> None:
    """A finding about a flow is in that flow's cell, and so is an exception that sets it aside."""
    stack = broken()
    (answer,) = [a for a in of(stack).answers("traefik", "jellyfin") if "*" in a.ports]
    assert answer.notes == ("undeclared-flows: expected DENIED, got ALLOWED via vlan20 -> jellyfin",)
    exemption = PolicyException(
        rule="undeclared-flows",
        resource="traefik -> jellyfin:*",
        reason="until its card is on",
        owner="me",
        expires=date(2027, 1, 1),
    )
    stack.topology = load(stack.config).model_copy(update={"exceptions": (exemption,)})
    (answer,) = [a for a in of(stack).answers("traefik", "jellyfin") if "*" in a.ports]
    assert (answer.state, answer.notes) == (
        State.UNDECLARED,
        ("exception to undeclared-flows until 2027-01-01, by me: until its card is on",),
    )


def test_the_worst_finding_comes_first(tmp_path: Path) -> None:
    """All findings of the pack are shown, by severity."""
    file = state(tmp_path, broken())
    told = [one["severity"] for one in data(page(tmp_path, file, "--config", str(FILE)))["findings"]]
    stack = broken()
    stack.resources = from_state(file)
    assert sorted(told) == sorted(RULES[finding.rule].severity for finding in stack.judge().findings)
    assert [severity for severity, _ in groupby(told)] == ["critical", "high", "medium"]


def test_the_last_run_stands_in_its_cells(tmp_path: Path) -> None:
    """A run beside the site's file is found; its cells go to their pairs, newcomers to a list."""
    run(tmp_path)
    told = data(page(tmp_path, state(tmp_path, sound())))
    names = [each["name"] for each in told["names"]]
    seen = told["verification"]
    assert seen["counts"] == {"agrees": 3, "disagrees": 1, "inconclusive": 1, "free": 2}
    assert {
        tuple(names[int(index)] for index in pair.split()): [one["verdict"] for one in probes]
        for pair, probes in seen["cells"].items()
    } == {
        ("traefik", "grafana"): ["agrees", "free"],
        ("internet", "loki-gateway"): ["agrees"],
        ("internet", "grafana"): ["agrees"],
        ("site-1", "site-2"): ["disagrees"],
        ("promtail", "loki-gateway"): ["inconclusive"],
    }
    assert [one["source"] for one in seen["others"]] == ["stranger@frontend"]


def test_a_published_port_is_the_ingresss_cell() -> None:
    """What the probe saw on a published port stands where the matrix declares it, at the ingress."""
    report = of(sound())
    probe = Probe(
        source="internet", destination="docker-srv", what="internet -> docker-srv:443/tcp", where="x on y",
        expected="ALLOWED", got="ALLOWED", verdict="agrees", cause="", control="",
    )  # fmt: skip
    other = probe.model_copy(update={"what": "internet -> docker-srv:*/tcp", "verdict": "free"})
    cells = {("internet", "docker-srv"): [probe, other]}
    seen = Verification(when="", seconds=1.0, counts={}, left_out=(), cells=cells, others=())
    at = {name: index for index, name in enumerate(report.names)}
    found = report.data(seen)["verification"]["cells"]
    assert {pair: [each["verdict"] for each in probes] for pair, probes in found.items()} == {
        f"{at['internet']} {at['traefik']}": ["agrees"],
        f"{at['internet']} {at['docker-srv']}": ["free"],
    }


def test_earlier_runs_are_a_time_line(tmp_path: Path) -> None:
    """Each run of `make verify` keeps the summaries of those before it, and what it saw beside the cells."""
    file = run(tmp_path)
    first = since.read(file, "dev")
    told = verify.ProbeReport(
        stack="dev", seconds=3.0, findings=(), notes=("container media, not of this site",)
    )
    file.write_text(verify.as_json(told, first))
    summaries = since.read(file, "dev").summaries
    assert [(each["seconds"], each["counts"]["agrees"]) for each in summaries] == [
        (12.5, 3),
        (3, 0),
    ]
    seen = data(page(tmp_path, state(tmp_path, sound())))["verification"]
    assert (seen["notes"], [each["seconds"] for each in seen["earlier"]]) == (
        ["container media, not of this site"],
        [12.5],
    )
    nothing = since.Earlier()
    assert (since.read(file, "home"), since.read(tmp_path / "none", "dev")) == (nothing, nothing)


def test_no_more_than_fifty_runs_are_kept(tmp_path: Path) -> None:
    """A file that each run writes anew does not grow for ever."""
    file = run(tmp_path)
    told = verify.ProbeReport(stack="dev", seconds=3.0, findings=())
    for _ in range(60):
        file.write_text(verify.as_json(told, since.read(file, "dev")))
    assert len(since.read(file, "dev").summaries) == 50


SIGHTS = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""What is seen of linear red, green and blue; source: Machado, Oliveira and Fernandes, 2009, severity 1."""
_STATES = ("declared", "through", "wrong")


def _seen(colour: str, sight: str) -> list[float]:
    """Return a colour's red, green and blue as seen, from 0 to 1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    seen = [sum(map(mul, row, linear)) for row in SIGHTS[sight]]
    return [max(0.0, min(1.0, part)) ** (1 / 2.2) for part in seen]


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_states_are_told_apart_without_a_colour_that_is_missing(sight: str, theme: int) -> None:
    """Declared, by the ingress and wrong differ in each kind of colour blindness, and their signs differ."""
    style = (PROJECT / "report/assets/page.css").read_text()
    colours = {name: re.findall(rf"--{name}: (#[0-9a-f]{{6}});", style)[theme] for name in _STATES}
    for one, other in combinations(colours.values(), 2):
        assert dist(_seen(one, sight), _seen(other, sight)) > 0.2, (one, other)


# --------------------------------------------------------------------------------------------- picture


def wide() -> Topology:
    """Return a site with two query zones, a service across a third network, and VLANs in several rows."""
    config = keys(30, FILE)
    config["zones"]["logs"] = {"role": "query", "prefix": "172.31.9.0/24"}
    config["services"]["far"] = {"zones": ["frontend", "logs"], "image": "x:1", "ports": [1, 2]}
    config["services"]["near"] = {"zones": ["logs"], "image": "x:1", "ports": [1, 2]}
    config["services"]["a" * 30] = {"zones": ["frontend"], "image": "x:1", "ports": [1]}
    config["flows"] += ["far -> near:1/tcp", "g0 -> internet:53/udp", "grafana -> prometheus-ui:8080"]
    config["unencrypted"].append({"flow": "far -> near:1/tcp", "reason": "has no TLS"})
    for tag in range(400, 409):
        prefix = f"10.{tag - 200}.0"
        config["zones"]["v" * 60 + f"{tag}"] = {"role": "tenant", "vlan": tag, "prefix": f"{prefix}.0/24"}
        config["services"][f"w{tag}"] = {
            "zone": "v" * 60 + f"{tag}",
            "vmid": tag * 10,
            "address": f"{prefix}.9",
        }
    return load(config)


SITES = {
    "sound": loaded(),
    "wide": wide(),
    "docker alone": load(docker_alone()),
    "proxmox alone": load(proxmox_alone()),
    "flat": load(flat()),
    "two Docker hosts": load(docker_hosts.site()),
    "routed": load(routed()),
    "attached": load(attached()),
    "keys added last": from_file(WIDE),
}


def meet(one: Box, other: Box) -> bool:
    """Whether two boxes overlap."""
    return (
        max(one.x, other.x) < min(one.right, other.right)
        and max(one.y, other.y) < min(one.bottom, other.bottom)
    )  # fmt: skip


def kind(drawing: Drawing, *kinds: str) -> dict[str, Box]:
    """Return the boxes of some kinds, by name."""
    return {box.title: box for box in drawing.boxes if box.kind in kinds}


@pytest.mark.parametrize("name", SITES)
def test_boxes_keep_apart_and_inside_the_picture(name: str) -> None:
    """No service covers another, no zone another zone, and every box is inside the picture."""
    drawing = draw(SITES[name])
    for kinds in (("service", "outside", "leg"), ("zone",), ("host",)):
        boxes = kind(drawing, *kinds)
        assert [(a.title, b.title) for a, b in combinations(boxes.values(), 2) if meet(a, b)] == []
    frame = Box(kind="", title="", x=0, y=0, width=drawing.width, height=drawing.height)
    assert [
        b for b in drawing.boxes if b.x < 0 or b.y < 0 or b.right > frame.right or b.bottom > frame.bottom
    ] == []


@pytest.mark.parametrize("name", SITES)
def test_boxes_have_room_for_their_texts(name: str) -> None:
    """A box is as wide as a usual font needs; tests/browser measures a real font."""
    for box in draw(SITES[name]).boxes:
        assert box.width > 12 + max(7.5 * len(box.title) * (box.kind != "leg"), 6 * len(box.detail)), box


def test_a_system_container_is_told_from_a_machine() -> None:
    """The box of a system container says lxc, that of a machine does not."""
    config = configuration()
    config["services"]["jellyfin"] |= {"kind": "lxc", "ostemplate": "local:vztmpl/debian-12.tar.zst"}
    services = kind(draw(load(config)), "service")
    assert services["jellyfin"].detail == "10.10.20.11 · 8096/tcp · lxc"
    assert services["stirling-pdf"].detail == "10.10.20.12 · 8080/tcp"


@pytest.mark.parametrize("name", SITES)
def test_a_service_stands_on_its_own_networks(name: str) -> None:
    """A box lies on the zones that its service joins; if it crosses others, its text names its own."""
    topology, drawing = SITES[name], draw(SITES[name])
    zones, services = kind(drawing, "zone"), kind(drawing, "service")
    assert services.keys() == topology.services.keys()
    for service in topology.services.values():
        box = services[service.name]
        met = {title for title, zone in zones.items() if meet(zone, box)}
        if met != set(service.zones):
            assert met > set(service.zones)
            assert " + ".join(service.zones) in box.detail


@pytest.mark.parametrize("name", SITES)
def test_every_declared_flow_is_an_arrow(name: str) -> None:
    """Picture and flowchart have the declared flows and no other."""
    topology = SITES[name]
    declared = sorted(map(str, topology.flows))
    arrows = [
        f"{arrow.source} -> {arrow.destination}:{port}"
        for arrow in draw(topology).arrows
        for port in arrow.ports.split(", ")
    ]
    chart = [
        f"{source} -> {destination}:{port}".replace("_", "-")
        for source, ports, destination in re.findall(
            r"at_(\w+) -->\|\"(.*?)\"\| at_(\w+)", flowchart(topology)
        )
        for port in ports.split(", ")
    ]
    assert (sorted(arrows), sorted(chart)) == (declared, declared)


def points(path: str) -> Iterator[tuple[float, float]]:
    """Yield points along an arrow's path, a few pixels apart."""
    x = y = 0.0
    for letter, text in re.findall(r"([MCHVq])([^MCHVq]*)", path):
        told = [float(number) for number in text.split()]
        if letter == "q":
            x, y = x + told[2], y + told[3]
            continue
        ends = {"M": told, "C": told, "H": [*told, y], "V": [x, *told]}[letter]
        ax, ay, bx, by = (ends * 2)[:4] if letter == "C" else (x, y, *ends[-2:])
        if letter != "M":
            for step in (part / 50 for part in range(1, 50)):
                if letter == "C":
                    weights = (1 - step) ** 3, 3 * step * (1 - step) ** 2, 3 * step**2 * (1 - step), step**3
                    yield (
                        sum(map(mul, weights, (x, ax, bx, ends[4]))),
                        sum(map(mul, weights, (y, ay, by, ends[5]))),
                    )
                else:
                    yield ax + (bx - ax) * step, ay + (by - ay) * step
        x, y = ends[-2:]


@pytest.mark.parametrize("name", ["sound", "docker alone", "flat"])
def test_no_arrow_runs_through_a_box(name: str) -> None:
    """An arrow leaves its source and enters its destination at the side where nothing is between."""
    drawing = draw(SITES[name])
    boxes = kind(drawing, "service", "outside")
    for arrow in drawing.arrows:
        through = {
            title
            for title, box in boxes.items()
            for x, y in points(arrow.path)
            if box.x < x < box.right and box.y < y < box.bottom
        }
        assert through == set(), (arrow.source, arrow.destination)


def test_the_router_is_drawn_with_the_flows_through_it() -> None:
    """The router is a box; a flow that it forwards touches it and names it, and no other flow does."""
    site, drawing = SITES["attached"], draw(SITES["attached"])
    box = kind(drawing, "host")["router"]
    assert box.detail == "router of management, wordpress, apps, vault · 22/tcp, 53/udp"
    crossing = {(str(each.flow.source), each.flow.destination) for each in site.crossings}
    assert {(each.source, each.destination) for each in drawing.arrows if each.via} == crossing
    assert crossing
    for arrow in drawing.arrows:
        touched = f" {box.x:g} {box.middle[1]:g}" in arrow.path or f"V{box.y:g}" in arrow.path
        touched |= f" {box.y:g}V" in arrow.path
        assert touched == bool(arrow.via) or arrow.destination == box.title


def test_a_container_leaves_by_the_router_beside_every_box() -> None:
    """What a container asks outside leads down at the hosts' right edge, past all services and networks."""
    drawing = draw(SITES["keys added last"])
    leaving = [each.path for each in drawing.arrows if each.source == "automation"]
    (lane,) = {float(re.findall(r"H([\d.]+)q8 0 8 8V", path)[0]) + 8 for path in leaving}
    inner = [box for kinds in ("service", "zone") for box in kind(drawing, kinds).values()]
    assert (len(leaving), max(box.right for box in inner) < lane) == (2, True)
    assert lane < kind(drawing, "host")["router"].right


def test_the_flowchart_in_the_docs_is_current() -> None:
    """docs/report.md shows what `--mermaid` prints for the dev stack."""
    text = (PROJECT / "docs" / "report.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{flowchart(SITES['sound'])}```\n" in text


# ---------------------------------------------------------------------------------------------- command


def test_the_same_stack_gives_the_same_bytes(tmp_path: Path) -> None:
    """The page does not depend on the hash seed of Python."""
    pages = []
    for seed in ("1", "2"):
        file = tmp_path / f"{seed}.html"
        subprocess.run(
            [sys.executable, "-m", "commands", "report", FILE, "--output", file],
            cwd=PROJECT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True,
        )  # fmt: skip
        pages.append(file.read_bytes())
    assert pages[0] == pages[1]


def test_a_page_takes_the_place_of_another_in_one_step(tmp_path: Path) -> None:
    """A page replaces the previous one in one step: a reader never sees half, and no other file remains."""
    (tmp_path / "report.html").write_text("before")
    with (tmp_path / "report.html").open() as reader:
        file = page(tmp_path, FILE)
        assert (reader.read(), file.read_text()[:15]) == ("before", "<!doctype html>")
    assert list(tmp_path.iterdir()) == [file]


def test_a_name_that_is_markup_stays_text(tmp_path: Path) -> None:
    """For any name in a state, the page has only the elements of the template."""
    file = page(tmp_path, state(tmp_path, hostile()))
    text = file.read_text()
    assert MARKUP in [each["name"] for each in data(file)["names"]]
    assert (text.count("<script"), text.count("</script"), text.count("<!--"), text.count("<img")) == (
        2,
        2,
        0,
        0,
    )


def test_a_stack_whose_name_is_markup_stays_text(tmp_path: Path) -> None:
    """Markup in the stack's name is text in the title."""
    file = state(tmp_path, sound())
    file.write_text(file.read_text().replace("urn:pulumi:dev::", "urn:pulumi:<b>::"))
    text = page(tmp_path, file, "--config", str(FILE)).read_text()
    assert (text.count("<title>Network of stack &lt;b&gt;</title>"), text.count("<b>")) == (1, 0)


def test_no_secret_is_in_the_page(tmp_path: Path) -> None:
    """A state exported with plain-text secrets gives a page without them."""
    stack = sound()
    stack.inputs("container", "loki")["envs"] = [f"PASSWORD={CANARY}"]
    file = state(tmp_path, stack)
    assert CANARY in file.read_text()
    assert CANARY not in page(tmp_path, file).read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.yaml"], "missing.yaml: cannot be read"),
        (["missing.json"], "missing.json: No such file or directory"),
        (["broken.json"], "broken.json: line 1: no exported state; write one with"),
        (["typo.yaml"], "zonez"),
        (
            [str(FILE), "--verification", "missing.json"],
            "missing.json: No such file or directory; name a file",
        ),
        ([str(FILE), "--verification", "broken.json"], "broken.json: is no run of the live probe; write one"),
        ([str(FILE), "--verification", "verify-home.json"], "is of another stack; name a run of sound"),
        ([str(FILE), "--output", "none/x.html"], "none/x.html: No such file or directory; name a file"),
        ([str(FILE), "--output", "folder"], "folder: Is a directory; name a file"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad input ends with exit code 2 and one line that names the mistake, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "folder").mkdir()
    (tmp_path / "typo.yaml").write_text("config:\n  homelab-network:zonez: {}\n")
    (tmp_path / "report-sound.html").write_text("before")
    run(tmp_path, "home")
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert (sorted(tmp_path.rglob("*")), (tmp_path / "report-sound.html").read_text()) == (before, "before")
