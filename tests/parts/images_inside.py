"""The tests that `test_engine` runs in namespaces of their own: every image and its health command."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import engine, images
from lab.errors import LabError
from lab.images.catalogue import IMAGES, Image
from tests.parts.engine_inside import ENGINE, STAND_IN, docker, until

NAME = r"/homelab-inside-([a-z0-9-]+)\.slice/(?:docker-)?[0-9a-f]{64}(?:\.scope)?"


TRAEFIK = """\
entryPoints: {web: {address: ":80"}, ping: {address: "127.0.0.1:8082"}}
ping: {entryPoint: ping}
"""
NGINX = """\
pid /tmp/nginx.pid; error_log /dev/stderr warn; events {}
http {
  access_log off; client_body_temp_path /tmp/1; proxy_temp_path /tmp/2; fastcgi_temp_path /tmp/3;
  uwsgi_temp_path /tmp/4; scgi_temp_path /tmp/5;
  server { listen 8080; location / { return 200 "ok"; } }
}
"""
LOKI = """\
auth_enabled: false
server: {http_listen_port: 3100}
common: {path_prefix: /loki, replication_factor: 1, ring: {kvstore: {store: inmemory}}}
schema_config:
  configs:
  - {from: "2024-01-01", store: tsdb, object_store: filesystem, schema: v13, index: {prefix: i_, period: 24h}}
analytics: {reporting_enabled: false}
"""
PROMTAIL = """\
server: {http_listen_address: 127.0.0.1, http_listen_port: 9080, log_level: warn}
positions: {filename: /tmp/positions.yaml}
clients: [{url: "http://loki:3100/loki/api/v1/push"}]
scrape_configs: [{job_name: c, static_configs: [{labels: {job: c, __path__: "/logs/*/*-json.log"}}]}]
"""
SOURCES = """\
apiVersion: 1
datasources:
- {name: prometheus, uid: prometheus, type: prometheus, access: proxy, url: "http://prometheus:9090"}
"""
BASH = (
    "exec 3<>/dev/tcp/127.0.0.1/9080 && printf 'GET /ready HTTP/1.0\\r\\n\\r\\n' >&3"
    ' && read -r _ code _ <&3 && [ "$code" = 200 ]'
)


def wget(url: str) -> tuple[str, ...]:
    """Return a health command for images with BusyBox."""
    return ("wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{url}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How one image is run here, and its health command."""

    health: tuple[str, ...]
    file: tuple[str, str] | None = None
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


TRIALS = {
    "traefik": Trial(
        health=("traefik", "healthcheck"),
        file=("/etc/traefik/traefik.yml", TRAEFIK),
        options=("--cap-add=NET_BIND_SERVICE",),
    ),
    "nginx": Trial(
        health=wget("8080/"),
        file=("/etc/nginx/nginx.conf", NGINX),
        options=("--user=65534:65534",),
        command=("nginx", "-g", "daemon off;"),
    ),
    "prometheus": Trial(health=wget("9090/-/ready"), options=("--volume=prometheus:/prometheus",)),
    "node-exporter": Trial(health=wget("9100/"), options=("--read-only",)),
    "blackbox-exporter": Trial(
        health=wget("9115/-/healthy"),
        file=("/etc/blackbox_exporter/config.yml", "modules: {tcp: {prober: tcp}}"),
        options=("--user=65534:65534",),
    ),
    "cadvisor": Trial(
        health=wget("8080/healthz"),
        options=("--volume=/sys:/sys:ro", "--read-only"),
        command=("--port=8080", "--docker_only=false", "--housekeeping_interval=10s"),
    ),
    "loki": Trial(
        health=("loki", "-health", "-health.url=http://127.0.0.1:3100/ready"),
        file=("/etc/loki/config.yaml", LOKI),
        options=("--volume=loki:/loki",),
        command=("-config.file=/etc/loki/config.yaml",),
    ),
    "promtail": Trial(
        health=("bash", "-c", BASH),
        file=("/etc/promtail/config.yml", PROMTAIL),
        options=(f"--volume={engine.ROOT}/containers:/logs:ro",),
    ),
    "grafana-stand-in": Trial(
        health=wget("3000/api/health"),
        file=("/etc/grafana/provisioning/datasources/site.yaml", SOURCES),
        options=("--env=GF_SECURITY_ADMIN_PASSWORD=word",),
    ),
}


def healthy(name: str) -> bool:
    """Whether the health command of a running container succeeds."""
    try:
        docker("exec", name, *TRIALS[name].health)
    except LabError:
        return False
    return True


def _group(image: Image) -> str:
    return f"homelab-inside-{image.name}.slice"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run every image on one network, without any capability that it does not need."""
    engine.up(print)
    how = images.ensure(ENGINE["DOCKER_HOST"], print)
    assert set(how.values()) == {"made"}
    docker("network", "create", "--internal", "--subnet", "172.30.202.0/24", "site")
    for image in IMAGES:
        trial = TRIALS[image.name]
        options = ["--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--network=site"]
        options += [
            f"--name={image.name}",
            f"--cgroup-parent={_group(image)}",
            *trial.options,
        ]
        if trial.file:
            file = tmp_path_factory.mktemp("files") / "file"
            file.write_text(trial.file[1])
            options += [f"--volume={file}:{trial.file[0]}:ro"]
        docker("run", "--detach", *options, image.tag, *trial.command)
    yield
    engine.down(print, [*map(_group, IMAGES)])


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("name", TRIALS)
def test_health_command(name: str) -> None:
    """The image starts with minimal privileges and its health command succeeds; stopped, it fails."""
    until(f"{name} is healthy", lambda: healthy(name))
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", name))
    (image,) = [image for image in IMAGES if image.name == name]
    assert labels[images.ORIGIN] == image.origin


@pytest.mark.usefixtures("site")
def test_images_are_found_again() -> None:
    """A second `ensure` finds every image and builds none."""
    assert set(images.ensure(ENGINE["DOCKER_HOST"], print).values()) == {"cached"}


@pytest.mark.usefixtures("site")
def test_cadvisor_tells_containers_apart() -> None:
    """Without the engine's socket, each container's memory is reported once, under its service's group."""

    def named() -> list[str]:
        text = docker("exec", "cadvisor", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/metrics")
        found = re.findall(r'container_memory_usage_bytes{.*?id="([^"]*)"', text)
        return sorted(name for one in found for name in re.findall(f".*{NAME}$", one))

    until("cAdvisor knows them all", lambda: named() == sorted(TRIALS))


@pytest.mark.usefixtures("site")
def test_stand_in_asks_and_forwards() -> None:
    """The stand-in labels every answer, requires the admin's password, and forwards to a data source."""

    def asked(what: str, *options: str) -> str:
        command = f"wget {' '.join(options)} -O - 'http://{what}' 2>&1 || true"
        return docker("exec", "grafana-stand-in", "sh", "-c", command)

    login = asked("127.0.0.1:3000/login", "-S")
    assert "X-Stand-In: stand-in for Grafana, not Grafana" in login
    assert "<title>stand-in for Grafana, not Grafana</title>" in login
    query = "3000/api/datasources/proxy/uid/prometheus/api/v1/query?query=1"
    assert "401 Unauthorized" in asked(f"127.0.0.1:{query}")
    until("Prometheus is healthy", lambda: healthy("prometheus"))
    assert '"status":"success"' in asked(f"admin:word@127.0.0.1:{query}")


@pytest.mark.usefixtures("site")
def test_published_image_takes_the_name() -> None:
    """A pulled image gets the lab's name and labels, and keeps its settings."""
    (image,) = [image for image in IMAGES if image.name == "promtail"]
    images.adopt(image, STAND_IN, ENGINE)
    (told,) = json.loads(docker("image", "inspect", image.tag))
    assert told["Config"]["Labels"][images.ORIGIN] == f"published as {STAND_IN}"
    assert told["Config"]["Entrypoint"] == ["/usr/bin/standin", "grafana"]
    assert told["Config"]["User"] == "472"
    assert images._present(image, ENGINE)
