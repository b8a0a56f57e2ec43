"""The running dev stack: what answers, what does not, and what each part contains."""

import json
import re
import uuid
from urllib.parse import quote, urlsplit

import pytest
import requests
import urllib3
from fakepve import schema

from lab import paths
from tests.live.site import DOMAIN, PROJECT, Site, Snapshot, eventually, listeners

PAGES = {
    "grafana": "Grafana",
    "prometheus": "Prometheus",
    "site-1": "Site-1",
    "site-2": "Site-2",
    "jellyfin": "Jellyfin",
    "stirling-pdf": "stirling-pdf",
    "vaultwarden": "Vaultwarden",
}


def test_up_ends_with_flows_and_addresses(site: Site) -> None:
    """`make up` ends with the flow table and the addresses to open."""
    tail = site.said[site.said.index("Who may reach whom") :]
    assert " traefik -> vaultwarden:80/tcp" in tail
    assert f"https://grafana.{DOMAIN}/" in tail


@pytest.mark.parametrize("host", PAGES)
def test_each_service_answers_with_its_own_page(site: Site, host: str) -> None:
    """Each host name gets its own service through Traefik on 443, with a certificate of the lab's CA."""
    answer = eventually(host, lambda: (a := site.get(host, user="admin")).status < 500 and a)
    while answer.status in {301, 302, 307, 308}:
        answer = site.get(host, answer.headers["Location"], user="admin")
    others = [page for page in PAGES.values() if page != PAGES[host] and page in answer.text]
    assert (answer.status, PAGES[host].lower() in answer.text.lower(), others) == (200, True, [])


def test_an_unknown_host_is_not_found(site: Site) -> None:
    """A host name without a route gets 404 from Traefik."""
    assert site.get("nobody").status == 404


def test_port_80_redirects(site: Site) -> None:
    """Port 80 only redirects to 443."""
    with urllib3.HTTPConnectionPool("127.0.0.1", 80, timeout=10) as pool:
        answer = pool.request("GET", "/a?b=c", headers={"Host": f"site-1.{DOMAIN}"}, redirect=False)
    assert (answer.status, answer.headers["Location"]) == (301, f"https://site-1.{DOMAIN}/a?b=c")
    assert site


def test_no_other_port_is_open(site: Site, before: Snapshot) -> None:
    """Since `make up` Docker-SRV listens on 80 and 443, and on no other port that others can reach."""
    assert site

    def new() -> set[str]:
        return {address.rpartition(":")[2] for address in listeners() if address not in before.listeners}

    # A port of the stack stays open; a port of another program that ends meanwhile is not the stack's.
    eventually("80 and 443 alone", lambda: new() == {"80", "443"})


def query(site: Site, expression: str) -> list[dict[str, dict[str, str]]]:
    """Return the result vector of a query through Prometheus UI."""
    answer = site.get("prometheus", f"/api/v1/query?query={quote(expression)}", user="admin")
    assert answer.status == 200, answer.text
    return list(answer.json()["data"]["result"])


def test_prometheus_has_its_targets_up(site: Site) -> None:
    """Node Exporter and cAdvisor are scraped."""
    wanted = 'up{job!="probe"} == 1'
    up = eventually("two targets up", lambda: len(found := query(site, wanted)) == 2 and found)
    assert sorted(series["metric"]["job"] for series in up) == ["cadvisor", "node-exporter"]


def test_cadvisor_shows_containers_by_name(site: Site) -> None:
    """Without the Docker socket, each container's metrics still carry its name."""

    def unseen() -> set[str]:
        series = query(site, 'container_memory_working_set_bytes{name!=""}')
        return set(running) - {one["metric"]["name"] for one in series}

    running = site.docker("ps", "--format", "{{.Names}}").split()
    assert len(running) == 10
    eventually("a series for each container", lambda: not unseen())


def test_a_query_passes_prometheus_ui(site: Site) -> None:
    """Queries pass by GET and by POST."""
    for method, body in (("GET", None), ("POST", "")):
        answer = site.get("prometheus", "/api/v1/query?query=1", method=method, body=body, user="admin")
        assert answer.json()["status"] == "success"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/admin/tsdb/snapshot"),
        ("POST", "/api/v1/admin/tsdb/delete_series?match[]=up"),
        ("PUT", "/api/v1/admin/tsdb/clean_tombstones"),
        ("POST", "/-/reload"),
        ("POST", "/-/quit"),
        ("PUT", "/-/quit"),
        ("POST", "/api/v1/write"),
        ("POST", "/api/v1/otlp/v1/metrics"),
        ("POST", "/api/v1/read"),
        ("GET", "/federate?match[]=up"),
        ("GET", "/metrics"),
        ("GET", "/debug/pprof/heap"),
        ("GET", "/api/v1/status/config"),
        ("GET", "//federate?match[]=up"),
        ("GET", "/graph/../federate?match[]=up"),
        ("GET", "/graph/%2e%2e/federate?match[]=up"),
        ("DELETE", "/api/v1/series?match[]=up"),
        ("PUT", "/api/v1/query?query=1"),
        ("POST", "/graph"),
    ],
)
def test_prometheus_ui_refuses_all_but_reading(site: Site, method: str, path: str) -> None:
    """Admin, lifecycle, write, remote-read and federate paths do not pass, in any spelling."""
    answer = site.get("prometheus", path, method=method, body="" if method != "GET" else None, user="admin")
    assert answer.status == 403, answer.text[:300]


def test_a_log_line_is_found_by_grafanas_way(site: Site) -> None:
    """A line that Traefik writes is sent by Promtail and found by Grafana, both through Loki's gateway."""
    mark = uuid.uuid4().hex
    site.get("nobody", f"/{mark}")
    path = "/api/datasources/proxy/uid/loki/loki/api/v1/query_range?query=" + quote(
        f'{{container="traefik"}} |= "{mark}"'
    )

    def found() -> list[object]:
        answer = site.get("grafana", path, user="admin")
        return answer.json()["data"]["result"] if answer.status == 200 else []

    assert len(eventually("the line in Loki", found)) == 1


def test_grafana_has_its_data_sources(site: Site) -> None:
    """Grafana has one data source per declared flow, to that flow's service; only admin sees them."""
    assert site.get("grafana", "/api/datasources").status == 401
    sources = site.get("grafana", "/api/datasources", user="admin").json()
    assert {source["uid"]: source["url"] for source in sources} == {
        "prometheus": "https://prometheus:9090",
        "loki": "https://loki-gateway:3100",
    }


def test_containers_hold_no_key_to_the_host(site: Site) -> None:
    """The engine reports no socket, no host namespace, no privilege, and the declared networks."""
    containers = json.loads(site.docker("inspect", *site.docker("ps", "--quiet").split()))
    assert len(containers) == 10
    for container in containers:
        host = container["HostConfig"]
        assert not [m["Source"] for m in container["Mounts"] if m["Source"] in {"/", "/run", "/var/run"}]
        assert not [m["Source"] for m in container["Mounts"] if "docker.sock" in m["Source"]]
        assert (host["Privileged"], host["NetworkMode"], host["PidMode"], host["IpcMode"]) == (
            False,
            "bridge",
            "",
            "private",
        )
    networks = json.loads(site.docker("network", "inspect", "edge", "frontend", "query", "backend", "probe"))
    assert {n["Name"]: n["Internal"] for n in networks} == {
        "edge": False,
        "frontend": True,
        "query": True,
        "backend": True,
        "probe": False,
    }
    assert "traefik" not in {c["Name"] for n in networks[2:] for c in n["Containers"].values()}


def test_proxmox_holds_five_guarded_guests(site: Site) -> None:
    """The API has tag and firewall on each card, DROP both ways, the guest's group, the management rule."""
    url = f"{site.environment['PROXMOX_VE_ENDPOINT']}api2/json"
    with requests.Session() as api:
        api.trust_env = False
        api.verify = site.environment["SSL_CERT_FILE"]
        api.headers["Authorization"] = f"PVEAPIToken={site.environment['PROXMOX_VE_API_TOKEN']}"

        def ask(path: str) -> object:
            return api.get(f"{url}/{path}", timeout=10).json()["data"]

        guests = {
            "101": ("site-1", 10),
            "102": ("site-2", 10),
            "201": ("jellyfin", 20),
            "202": ("stirling-pdf", 20),
            "301": ("vaultwarden", 30),
        }
        for vm, (name, tag) in guests.items():
            base = f"nodes/pve1/qemu/{vm}"
            config, options, rules = (
                ask(f"{base}/{p}") for p in ("config", "firewall/options", "firewall/rules")
            )
            assert isinstance(config, dict)
            assert isinstance(options, dict)
            assert isinstance(rules, list)
            card = dict(part.split("=", 1) for part in config["net0"].split(","))
            assert (config["name"], card["tag"], card["firewall"], "net1" in config) == (
                name,
                str(tag),
                "1",
                False,
            )
            assert (int(options["enable"]), options["policy_in"], options["policy_out"]) == (
                1,
                "DROP",
                "DROP",
            )
            assert [(rule["type"], rule["action"]) for rule in rules] == [("group", name)]
        datacenter = ask("cluster/firewall/options")
        assert isinstance(datacenter, dict)
        assert (int(datacenter["enable"]), datacenter["policy_in"]) == (1, "DROP")
        rules = ask("cluster/firewall/rules")
        assert isinstance(rules, list)
        assert {(r["action"], r["source"], r["dport"]) for r in rules} == {
            ("ACCEPT", "10.10.1.0/24", "8006"),
            ("ACCEPT", "10.10.1.0/24", "22"),
        }


def test_the_provider_calls_what_its_privileges_were_found_from(site: Site) -> None:
    """The provider calls only what is in the recording that tests/unit/test_real_hosts.py replays."""
    assert site
    log = (paths.RUN / "proxmox.log").read_text()
    called = set(re.findall(r" Go-http-client\S* called (\S+ \S+)", log))
    lines = (PROJECT / "tests/unit/proxmox_calls.jsonl").read_text().splitlines()
    calls = [json.loads(line) for line in lines]
    known = {
        f"{method} {schema.load().match(urlsplit(url).path.removeprefix('/api2/json')).template}"
        for method, url, _ in calls
    }
    assert len(called) > 20
    assert called - known == set()
