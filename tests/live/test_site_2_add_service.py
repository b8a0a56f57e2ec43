"""The worked example "add a service" on the running lab: declared, proved, made, probed, seen, removed."""

import json

from tests.documents import blocks
from tests.live.site import PROJECT, Site, command, make

STACK = PROJECT / "Pulumi.dev.yaml"
PAGE = "wiki"


def wiki_cells() -> list[dict[str, str]]:
    """Return the cells about the new guest in the probe at the end of the last `make up`."""
    cells = json.loads((PROJECT / "verify-dev.json").read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if PAGE in (cell["source"], cell["destination"])]


def test_a_service_comes_and_goes_by_its_lines(site: Site) -> None:
    """With the example's lines the new page opens and every cell agrees; without them the service is gone.

    The work tree is then as it was.
    """
    before, text = command("git", "status", "--porcelain").stdout, STACK.read_text(encoding="utf-8")
    assert (site.get(PAGE).status, wiki_cells()) == (404, [])
    (diff,) = blocks(PROJECT / "CONTRIBUTING.md", "diff", "## Add a service")
    try:
        STACK.with_name("service.diff").write_text(diff, encoding="utf-8")
        applied = command("git", "apply", "service.diff")
        STACK.with_name("service.diff").unlink()
        assert applied.returncode == 0, applied.stdout
        assert make("preview").returncode == 0
        opened = make("diff", "BASE=HEAD")
        assert (opened.returncode, "traefik -> wiki:3000/tcp" in opened.stdout) == (0, True), opened.stdout
        done = make("up")
        assert done.returncode == 0, done.stdout[-4000:]
        answer = site.get(PAGE)
        assert (answer.status, PAGE in answer.text.lower()) == (200, True)
        cells = wiki_cells()
        assert {cell["verdict"] for cell in cells} == {"agrees"}
        asked = {(cell["source"], cell["destination"], cell["expected"]) for cell in cells}
        assert asked >= {("traefik", PAGE, "ALLOWED"), ("vaultwarden", PAGE, "DENIED")}
    finally:
        STACK.write_text(text, encoding="utf-8")
        gone = make("up")
    assert gone.returncode == 0, gone.stdout[-4000:]
    assert (site.get(PAGE).status, wiki_cells()) == (404, [])
    assert command("git", "status", "--porcelain").stdout == before
