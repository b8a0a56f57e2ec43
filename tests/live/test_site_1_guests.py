"""The guest certificates that the ingress accepts, tried with others in place of Site-1's own."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lab import paths, tls
from tests.live.sabotage import TOPOLOGY
from tests.live.site import Site, command, eventually

GUESTS = {guest.name: guest for guest in TOPOLOGY.guests if guest.ca_file}
SITE_1 = GUESTS["site-1"]
INSIDE = ("ip", "netns", "exec", f"vm-{SITE_1.vmid}")
SHOWN = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], 443)))"
Leaf = tuple[Path, Path]


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_is_asked_by_tls(site: Site, name: str) -> None:
    """A guest serves its own page through the ingress, and no page without TLS."""
    answer, guest = site.get(name), GUESTS[name]
    assert (answer.status, name.capitalize() in answer.text) == (200, True)
    inside = ("ip", "netns", "exec", f"vm-{guest.vmid}", "curl", "--silent", "--write-out", "%{http_code}")
    said = command(*inside, f"http://{guest.address}:{guest.ports[0].number}/").stdout
    assert (said[-3:], name.capitalize() in said) == ("400", False)


@pytest.fixture
def show(site: Site) -> Iterator[Callable[[Leaf], None]]:
    """Yield a function that makes Site-1's nginx serve another certificate; restores its own afterwards."""
    folder = paths.RUN / "guests" / f"vm-{SITE_1.vmid}"
    files = folder / "certificate.pem", folder / "key.pem"
    own = [file.read_bytes() for file in files]
    nginx = int((folder / "nginx.pid").read_text())
    workers = Path(f"/proc/{nginx}/task/{nginx}/children")

    def put(*texts: bytes) -> None:
        for file, text in zip(files, texts, strict=True):
            file.write_bytes(text)
        before = workers.read_text().split()
        os.kill(nginx, signal.SIGHUP)
        # The ingress's open connections end with the old nginx workers.
        eventually("other workers", lambda: {*workers.read_text().split()}.isdisjoint(before))

    def shown(leaf: Leaf) -> None:
        put(*(file.read_bytes() for file in leaf))
        asked = (*INSIDE, sys.executable, "-I", "-c", SHOWN, str(SITE_1.address))
        text = leaf[0].read_text().strip()
        eventually("the other certificate", lambda: command(*asked).stdout.strip() == text)

    yield shown
    put(*own)
    eventually("Site-1 as it was", lambda: site.get("site-1").status == 200)


@pytest.mark.parametrize(
    ("authority", "name", "minutes", "status"),
    [
        ("the lab's", "site-1", 1, 200),
        ("the lab's", "site-2", 1, 500),
        ("the lab's", "site-1", -1, 500),
        ("another", "site-1", 1, 500),
    ],
)
def test_the_ingress_believes_a_guests_own_certificate_alone(  # noqa: PLR0917  # what a certificate says
    site: Site,
    show: Callable[[Leaf], None],
    tmp_path: Path,
    authority: str,
    name: str,
    minutes: int,
    status: int,
) -> None:
    """Only the declared CA, the guest's name and a valid time are accepted, else 500; Site-2 works always."""
    if authority == "the lab's":
        (tmp_path / "tls").mkdir()
        for file in tls.authority():
            shutil.copy(file, tmp_path / "tls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "STATE", tmp_path)
        patch.setattr(tls, "_LEAF_LIFE", timedelta(minutes=minutes))
        leaf = tls.leaf("shown", [name])
    show(leaf)
    assert (site.get("site-1").status, site.get("site-2").status) == (status, 200)
