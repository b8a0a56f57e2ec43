"""Requests to untouched services while one service is added and another removed, and back."""

import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest
import urllib3

from lab import tls
from tests.live.site import DOMAIN, Site, eventually, updated

REQUESTS = 10_000
ROUNDS = 4
"""How often as many requests are made at most, on a busy machine."""
PER_SECOND = 190
"""Shared by the services; the ingress limits one client to 100 for each service."""
AT_ONCE = 16
OUTAGE_SECONDS = 5
"""The README says one or two; the ingress is replaced, because its routes are files."""
UNTOUCHED = ["grafana", "site-1", "site-2", "jellyfin", "vaultwarden"]
WIKI = "    wiki: {zone: apps, vmid: 203, address: 10.10.20.13, ports: [3000]}\n"
CHANGES = (
    ("    stirling-pdf: {zone: apps, vmid: 202, address: 10.10.20.12, ports: [8080]}\n", WIKI),
    ("    - traefik -> stirling-pdf:8080/tcp\n", "    - traefik -> wiki:3000/tcp\n"),
    ("{flow: traefik -> stirling-pdf:8080/tcp,", "{flow: traefik -> wiki:3000/tcp,"),
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request: its start and end in seconds of the run, and its status or its error's name."""

    began: float
    ended: float
    answer: str


class Client:
    """Requests the untouched services in turn, at a steady rate over kept-alive connections."""

    def __init__(self) -> None:
        context = ssl.create_default_context(cafile=str(tls.bundle()))
        self._pools = {
            host: urllib3.HTTPSConnectionPool(
                "127.0.0.1",
                443,
                ssl_context=context,
                server_hostname=f"{host}.{DOMAIN}",
                assert_hostname=f"{host}.{DOMAIN}",
                maxsize=AT_ONCE,
                timeout=5,
                retries=False,
            )
            for host in UNTOUCHED
        }
        self._start = time.monotonic()
        self.enough = threading.Event()

    def ask(self, place: int, host: str) -> Asked:
        """Wait for the request's turn, and send it."""
        time.sleep(max(0, self._start + place / PER_SECOND - time.monotonic()))
        began = time.monotonic() - self._start
        try:
            found = self._pools[host].request(
                "GET", "/", headers={"Host": f"{host}.{DOMAIN}"}, redirect=False
            )
            answer = str(found.status)
        except urllib3.exceptions.HTTPError as error:
            answer = type(error).__name__
        return Asked(began=began, ended=time.monotonic() - self._start, answer=answer)

    def run(self) -> list[Asked]:
        """Return every request, in order: 10,000, and as many again while the updates still go on."""
        found: list[Asked] = []
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while not found or (not self.enough.is_set() and len(found) < ROUNDS * REQUESTS):
                places = range(len(found), len(found) + REQUESTS)
                found += threads.map(self.ask, places, islice(cycle(UNTOUCHED), REQUESTS))
        return found


def outages(failed: list[Asked]) -> Iterator[float]:
    """Yield the length of each series of failures; less than `OUTAGE_SECONDS` apart they are one series."""
    row: list[Asked] = []
    for each in [*failed, None]:
        if row and (each is None or each.began - row[-1].ended > OUTAGE_SECONDS):
            yield round(max(one.ended for one in row) - row[0].began, 1)
            row = []
        row += [each] if each else []


@pytest.mark.timeout(900)
def test_untouched_services_miss_one_short_moment(site: Site, tmp_path: Path) -> None:
    """Of 10,000 requests all succeed except in a gap at each of two updates, which replace the ingress."""
    asked: list[Asked] = []
    requests = Client()
    client = threading.Thread(target=lambda: asked.extend(requests.run()))
    client.start()
    try:
        updated(site, tmp_path, *CHANGES)
        eventually("the new service", lambda: site.get("wiki").status == 200)
        assert site.get("stirling-pdf").status == 404
    finally:
        updated(site, tmp_path)
        back = client.is_alive()
        requests.enough.set()
        client.join(300)
    assert back, "the second update took longer than all requests"
    failed = [each for each in asked if each.answer not in {"200", "302"}]
    gaps = list(outages(failed))
    print(f"{len(asked)} requests in {asked[-1].ended:.0f} s, {len(failed)} failed, in gaps of {gaps} s")
    print(Counter(each.answer for each in asked))
    assert len(asked) % REQUESTS == 0
    assert len(gaps) <= len(("there", "back")), failed
    assert max(gaps, default=0) < OUTAGE_SECONDS, failed
    assert len(failed) < len(gaps) * OUTAGE_SECONDS * PER_SECOND
