"""The worked examples "add a service" and "another project" on the running lab, until they are gone again."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.documents import blocks
from tests.live.site import PROJECT, Site, command, eventually, make

STACK = PROJECT / "Pulumi.dev.yaml"
CONSUMER = PROJECT / "examples" / "consumer"
PAGE, SLOT = "wiki", "start-page"
EXAMPLES = (("CONTRIBUTING.md", "## Add a service"), ("docs/outputs.md", "## Another project"))
Done = subprocess.CompletedProcess[str]


def cells(service: str) -> list[dict[str, str]]:
    """Return the cells about a service in the probe at the end of the last `make up`."""
    told = json.loads((PROJECT / "verify-dev.json").read_text(encoding="utf-8"))["cells"]
    return [cell for cell in told if service in (cell["source"], cell["destination"])]


@pytest.fixture(scope="module")
def added(site: Site) -> Iterator[Done]:
    """Run `make up` with the lines of both examples; at the end both services and the lines are gone."""
    before, text = command("git", "status", "--porcelain").stdout, STACK.read_text(encoding="utf-8")
    assert (site.get(PAGE).status, cells(PAGE)) == (404, [])
    try:
        for document, heading in EXAMPLES:
            (diff,) = blocks(PROJECT / document, "diff", heading)
            STACK.with_name("service.diff").write_text(diff, encoding="utf-8")
            applied = command("git", "apply", "service.diff")
            STACK.with_name("service.diff").unlink()
            assert applied.returncode == 0, applied.stdout
        assert make("preview").returncode == 0
        opened = make("diff", "BASE=HEAD")
        assert (opened.returncode, f"traefik -> {PAGE}:3000/tcp" in opened.stdout) == (0, True), opened.stdout
        done = make("up")
        assert done.returncode == 0, done.stdout[-4000:]
        yield done
    finally:
        STACK.write_text(text, encoding="utf-8")
        gone = make("up")
    assert gone.returncode == 0, gone.stdout[-4000:]
    assert [(site.get(each).status, cells(each)) for each in (PAGE, SLOT)] == [(404, []), (404, [])]
    assert command("git", "status", "--porcelain").stdout == before


@pytest.mark.usefixtures("added")
def test_a_service_comes_by_its_lines(site: Site) -> None:
    """The new page opens, and every cell about it agrees."""
    answer = site.get(PAGE)
    assert (answer.status, PAGE in answer.text.lower()) == (200, True)
    assert {cell["verdict"] for cell in cells(PAGE)} == {"agrees"}
    asked = {(cell["source"], cell["destination"], cell["expected"]) for cell in cells(PAGE)}
    assert asked >= {("traefik", PAGE, "ALLOWED"), ("vaultwarden", PAGE, "DENIED")}


def pulumi(site: Site, *words: str) -> Done:
    """Run a pulumi command on the other project's stack."""
    return command(
        "pulumi", "--cwd", str(CONSUMER), *words, "--non-interactive", environment=site.environment
    )


@pytest.fixture(scope="module")
def filled(site: Site, added: Done) -> Iterator[None]:
    """Have the other project fill its slot, with the policy pack; removes its stack at the end."""
    assert f"slot {SLOT} of project {SLOT}: empty" in added.stdout
    pulumi(site, "stack", "init", "dev")
    try:
        done = pulumi(site, "up", "--yes", "--stack", "dev", "--policy-pack", "../../policies/serve")
        assert done.returncode == 0, done.stdout[-3000:]
        assert "judged by the slots that organization/homelab-network/dev hands over" in done.stdout
        yield
    finally:
        done = pulumi(site, "destroy", "--yes", "--stack", "dev")
        assert done.returncode == 0, done.stdout[-3000:]
        pulumi(site, "stack", "rm", "--yes", "--preserve-config", "dev")


@pytest.mark.usefixtures("filled")
def test_the_ingress_serves_the_page_of_another_project(site: Site) -> None:
    """The page links to each other service in the outputs, and is served at its slot's route."""
    answer = eventually("the start page", lambda: (got := site.get(SLOT)).status == 200 and got)
    urls = json.loads(site.pulumi("stack", "output", "urls", "--json").stdout)
    assert {name for name, url in urls.items() if url in answer.text} == urls.keys() - {SLOT}


@pytest.mark.usefixtures("filled")
def test_a_filled_slot_opens_nothing_else(site: Site) -> None:
    """With the slot filled every cell agrees, those of the page as well, and nothing has drifted."""
    words = (sys.executable, "-m", "commands", "verify", "--json", str(PROJECT / "verify-dev.json"))
    probed = command(*words, environment=site.environment)
    assert probed.returncode == 0, probed.stdout[-3000:]
    assert f"slot {SLOT} of project {SLOT}: filled" in probed.stdout
    asked = {(cell["source"], cell["expected"], cell["verdict"]) for cell in cells(SLOT)}
    assert asked >= {("traefik", "ALLOWED", "agrees"), ("grafana", "DENIED", "agrees")}
    drifted = command(sys.executable, "-m", "commands", "drift", environment=site.environment)
    assert drifted.returncode == 0, drifted.stdout
