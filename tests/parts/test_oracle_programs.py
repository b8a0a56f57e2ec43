"""What Prometheus, Loki and Promtail make of generated files, and what the pack reads of them."""

import json
import random
import re
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from lab.images.catalogue import LOKI, PROMETHEUS, PROMTAIL
from policies.targets import _discoveries, _targets
from rendered.apps.logs import loki, promtail
from rendered.apps.prometheus import prometheus
from resources.docker import DockerContainer
from tests.counted import Record, counted
from tests.live.site import eventually
from tests.parts.oracle_files import SCALARS, replaced
from tests.parts.oracles import LIMIT, free_ports
from tests.site import configuration
from topology.config import load
from topology.model import Container

Trail = tuple[Any, ...]
PEER: Final = "http://10.0.0.9:9090/api"


def rendered(app: Callable[..., Any], name: str, file: str) -> dict[str, Any]:
    """Return a file that the program renders for the sound site."""
    topology = load(configuration())
    (text,) = (text for path, text in app(topology, topology.services[name]).files.items() if path == file)
    content: dict[str, Any] = yaml.safe_load(text)
    return content


@dataclass
class Tally:
    """How many files ended in which way, and where the program has a peer that the pack does not see."""

    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def add(self, name: str, text: str, theirs: set[str] | None, known: set[str]) -> None:
        """Compare the peers that a program reads (None: it refuses the file) with those that the pack reads.

        A peer that is not among the known ones is no declared flow, so the pack refuses the file.
        """
        ours = peers(text)
        if ours is None or ours - known:
            self.counts["refused" + (", though taken" if theirs is not None else ", and not taken")] += 1
        elif theirs is None:
            self.counts["wider: not taken"] += 1
        elif theirs - ours:
            self.counts["different"] += 1
            self.differences.append(f"{name}: {sorted(theirs - ours)} is not seen")
        else:
            self.counts["alike"] += 1


def peers(text: str) -> set[str] | None:
    """Return the peers that the pack reads of a YAML file; None if it refuses the file for itself."""
    made = DockerContainer.model_validate({"name": "x", "uploads": [{"file": "/x.yml", "content": text}]})
    contents = [content for _, content in made.documents]
    if made.unread or any(any(_discoveries(content)) for content in contents):
        return None
    return {target for content in contents for _, target in _targets(content)}


def odd(base: dict[str, Any], places: tuple[Trail, ...], each: int, offset: int) -> Iterator[tuple[str, str]]:
    """Yield a name and a text for `each` places of every scalar, besides files that are odd as a whole."""
    for number, scalar in enumerate(SCALARS):
        for path in random.Random(offset + number).sample(places, each):  # noqa: S311  # repeatable
            yield f"{scalar!r} at {path}", replaced(path, scalar, base)
    text = yaml.safe_dump(base, sort_keys=False)
    first = next(iter(base))
    yield from {
        "as it is": text,
        "JSON": json.dumps(base),
        "Windows": text.replace("\n", "\r\n"),
        "a byte order mark": f"\ufeff{text}",
        "a document's start": f"---\n{text}",
        "a trailing document": f"{text}---\n",
        "two documents": f"{text}---\n{text}",
        "a key twice": f"{text}{first}: {json.dumps(base[first])}\n",
        "a key in capitals": text.replace(f"{first}:", f"{first.upper()}:", 1),
        "an unknown key": f"{text}unknown: 1\n",
        "an anchor": f"{text}x-a: &a {{b: c}}\n",
        "tabs": text.replace("  ", "\t"),
        "nothing": "",
    }.items()


@pytest.fixture(scope="module")
def tools() -> dict[str, Path]:
    """Return the programs of the lab's images by name."""
    parts = {"prometheus": PROMETHEUS, "promtool": PROMETHEUS, "promtail": PROMTAIL}
    made = {name: part.get(print) / "usr/bin" / name for name, part in parts.items()}
    return made | {"loki": LOKI.get(print) / "usr/libexec/loki"}


def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        words, capture_output=True, text=True, errors="replace", cwd=cwd, timeout=LIMIT, check=False
    )


SCRAPES: Final[dict[str, Any]] = {
    "global": {"scrape_interval": "15s", "external_labels": {"site": "home"}},
    "scrape_configs": [
        {
            "job_name": "one",
            "scheme": "http",
            "metrics_path": "/metrics",
            "static_configs": [{"targets": ["10.0.0.1:9100", "10.0.0.2:9100"], "labels": {"a": "b"}}],
        },
        {"job_name": "two", "static_configs": [{"targets": ["10.0.0.3:8080"]}]},
    ],
    "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["10.0.0.4:9093"]}]}]},
    "remote_write": [{"url": PEER}],
}
SCRAPE_PLACES: Final[tuple[Trail, ...]] = (
    ("global", "scrape_interval"),
    ("global", "external_labels"),
    ("scrape_configs",),
    ("scrape_configs", 0),
    ("scrape_configs", 0, "job_name"),
    ("scrape_configs", 0, "scheme"),
    ("scrape_configs", 0, "static_configs"),
    ("scrape_configs", 0, "static_configs", 0),
    ("scrape_configs", 0, "static_configs", 0, "targets"),
    ("scrape_configs", 0, "static_configs", 0, "targets", 1),
    ("scrape_configs", 0, "static_configs", 0, "labels", "a"),
    ("alerting",),
    ("alerting", "alertmanagers"),
    ("alerting", "alertmanagers", 0, "static_configs"),
    ("remote_write",),
    ("remote_write", 0, "url"),
    ("scrape_config_files",),
    ("tracing",),
    ("storage",),
)
MORE: Final[Mapping[str, dict[str, Any]]] = {
    "another section": {"remote_read": [{"url": "http://10.0.0.8:1/read"}]},
    "a proxy": {"remote_write": [{"url": PEER, "proxy_url": "http://10.0.0.8:3128"}]},
    "a login elsewhere": {
        "remote_write": [
            {
                "url": PEER,
                "oauth2": {"client_id": "a", "client_secret": "b", "token_url": "http://10.0.0.8/token"},
            }
        ]
    },
    "tracing": {"tracing": {"endpoint": "10.0.0.8:4317", "insecure": True}},
    "discovery of alertmanagers": {"alerting": {"alertmanagers": [{"dns_sd_configs": [{"names": ["a"]}]}]}},
    "discovery by files": {"scrape_configs": [{"job_name": "x", "file_sd_configs": [{"files": ["/x.yml"]}]}]},
}


def test_prometheus_has_no_peer_that_the_pack_does_not_see(
    tools: dict[str, Path], tmp_path: Path, record_property: Record
) -> None:
    """Prometheus loads every file; each target and URL of its own configuration is the pack's, or refused."""
    file, tally, known = tmp_path / "prometheus.yml", Tally(), peers(_inert(yaml.safe_dump(SCRAPES)))
    assert known is not None
    cases = [*odd(SCRAPES, SCRAPE_PLACES, 3, 0)]
    cases += [(name, yaml.safe_dump({**SCRAPES, **more})) for name, more in MORE.items()]
    with _prometheus(tools["prometheus"], file) as url:
        for name, text in cases:
            file.write_bytes(_inert(text).encode())
            tally.add(name, _inert(text), _loaded(url), known)
    counted(record_property, "files of Prometheus", {"different": 0, **tally.counts})
    assert tally.differences == []
    assert len(cases) >= 250
    assert tally.counts["alike"] >= 40


JOB: Final[dict[str, Any]] = {"static_configs": [{"targets": ["127.0.9.1:9100"]}]}
MOVED: Final[Mapping[str, dict[str, Any]]] = {
    "plain": {},
    "by the label of the address": {
        "static_configs": [{**JOB["static_configs"][0], "labels": {"__address__": "127.0.9.8:1"}}]
    },
    "by the label of the scheme": {
        "scheme": "https",
        "static_configs": [{**JOB["static_configs"][0], "labels": {"__scheme__": "http"}}],
    },
    "by the label of the path": {
        "static_configs": [{**JOB["static_configs"][0], "labels": {"__metrics_path__": "/x"}}]
    },
    "relabelled": {"relabel_configs": [{"target_label": "__address__", "replacement": "127.0.9.8:1"}]},
    "relabelled by a pattern": {
        "relabel_configs": [
            {
                "source_labels": ["job"],
                "regex": "(.).*",
                "target_label": "__${1}ddress__",
                "replacement": "127.0.9.8:1",
            }
        ],
        "job_name": "a",
    },
    "relabelled by a map": {
        "static_configs": [{**JOB["static_configs"][0], "labels": {"x__address__": "127.0.9.8:1"}}],
        "relabel_configs": [{"action": "labelmap", "regex": "x(.*)"}],
    },
    "named": {"relabel_configs": [{"source_labels": ["job"], "target_label": "site"}]},
    "kept": {"relabel_configs": [{"action": "keep", "source_labels": ["job"], "regex": ".*"}]},
}
"""Jobs of one target, and what moves it elsewhere."""


def test_prometheus_asks_no_target_that_the_pack_does_not_see(tools: dict[str, Path], tmp_path: Path) -> None:
    """Each target that Prometheus asks is a listed one with the job's scheme, or the pack refuses the job."""
    file = tmp_path / "prometheus.yml"
    jobs = {name: {"job_name": name, **JOB, **more} for name, more in MOVED.items()}
    file.write_text(yaml.safe_dump({"scrape_configs": [*jobs.values()]}))
    with _prometheus(tools["prometheus"], file) as url:
        asked: dict[str, str] = {}
        eventually("every job's target", lambda: asked.update(_asked(url)) or len(asked) == len(jobs))
    refused = set()
    for name, job in jobs.items():
        listed = f"{job.get('scheme', 'http')}://127.0.9.1:9100/"
        if peers(yaml.safe_dump({"scrape_configs": [job]})) is None:
            refused.add(name)
        else:
            assert asked[str(job["job_name"])].startswith(listed), name
    print(f"Prometheus: {len(jobs)} jobs, {len(refused)} refused")
    assert refused == {
        *("by the label of the address", "by the label of the scheme"),
        *("relabelled", "relabelled by a pattern", "relabelled by a map"),
    }


def _asked(url: str) -> dict[str, str]:
    with urllib.request.urlopen(f"{url}/api/v1/targets?state=active", timeout=LIMIT) as answer:  # noqa: S310  # http
        targets = json.load(answer)["data"]["activeTargets"]
    return {target["scrapePool"]: target["scrapeUrl"] for target in targets}


@contextmanager
def _prometheus(program: Path, file: Path) -> Iterator[str]:
    """Run Prometheus with a file that may be empty or sound; yield its URL."""
    (port,) = free_ports(1)
    if not file.exists():
        file.write_text("{}")
    words = [f"--config.file={file}", f"--storage.tsdb.path={file.parent}/data", "--web.enable-lifecycle"]
    process = subprocess.Popen(
        [program, *words, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL
    )
    try:
        eventually("Prometheus", lambda: _ready(f"http://127.0.0.1:{port}/-/ready"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(LIMIT)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=LIMIT) as answer:  # noqa: S310  # http
            return bool(answer.status == 200)
    except OSError:
        return False


def _inert(text: str) -> str:
    """Return a file whose targets are on loopback, where no program listens at their ports."""
    return re.sub(r"\b10\.0\.0\.(\d)", r"127.0.9.\1", text)


def _loaded(url: str) -> set[str] | None:
    """Make Prometheus load its file, and return the peers of what it has then; None if it refuses it."""
    reload = urllib.request.Request(f"{url}/-/reload", method="POST")  # noqa: S310  # http
    try:
        urllib.request.urlopen(reload, timeout=LIMIT).close()  # noqa: S310  # http
    except urllib.error.HTTPError:
        return None
    with urllib.request.urlopen(f"{url}/api/v1/status/config", timeout=LIMIT) as answer:  # noqa: S310  # http
        content = yaml.load(json.load(answer)["data"]["yaml"], Loader=yaml.BaseLoader)  # noqa: S506  # texts
    return {target for _, target in _targets(content)} | {*_discoveries(content)}


def test_promtool_agrees_with_prometheus(tools: dict[str, Path], tmp_path: Path) -> None:
    """`promtool check config` takes what the program renders, and refuses what Prometheus refuses."""
    file = tmp_path / "prometheus.yml"
    text = yaml.safe_dump(SCRAPES)
    given = {
        text: 0,
        text.replace("job_name: two", "job_name: one"): 1,
        f"{text}unknown: 1\n": 1,
        text.replace("15s", "15"): 1,
    }
    for content, expected in given.items():
        file.write_text(content)
        done = run(tools["promtool"], "check", "config", "--syntax-only", file, cwd=tmp_path)
        assert done.returncode == expected, done.stderr
    topology = load(configuration())
    service = topology.services["prometheus"]
    assert isinstance(service, Container)
    made = prometheus(topology, service).files
    for path in (
        "/etc/prometheus/prometheus.yml",
        "/etc/prometheus/rules/watch.yml",
        "/etc/prometheus/web.yml",
    ):
        (tmp_path / Path(path).name).write_text(str(made[path]))
    check = run(tools["promtool"], "check", "config", "--syntax-only", "prometheus.yml", cwd=tmp_path)
    assert check.returncode == 0, check.stderr
    check = run(tools["promtool"], "check", "rules", "watch.yml", cwd=tmp_path)
    assert check.returncode == 0, check.stderr


LOKI_PLACES: Final[tuple[Trail, ...]] = (
    ("auth_enabled",),
    ("server", "http_listen_port"),
    ("server", "grpc_listen_address"),
    ("server", "tls_min_version"),
    ("server",),
    ("common", "instance_addr"),
    ("common", "ring", "kvstore", "store"),
    ("compactor",),
    ("compactor", "retention_enabled"),
    ("limits_config", "retention_period"),
    ("schema_config", "configs"),
    ("ruler", "alertmanager_url"),
    ("ruler",),
    ("frontend", "scheduler_address"),
)
LISTENS: Final = ("http_listen_address", "grpc_listen_address", "tls_min_version")
"""Settings of a server that the pack reads, or that say who may reach it."""


def test_loki_reads_what_the_pack_reads(
    tools: dict[str, Path], tmp_path: Path, record_property: Record
) -> None:
    """Loki's own print of each file has no other URL and no other listener than the pack reads."""
    base = rendered(loki, "loki", "/etc/loki/config.yaml")
    base["ruler"] = {"alertmanager_url": PEER}
    cases = [*odd(base, LOKI_PLACES, 1, 1000)]
    tally, known = Tally(), peers(yaml.safe_dump(base))
    assert known == {PEER}
    file = tmp_path / "loki.yaml"
    words = (tools["loki"], "-verify-config", "-print-config-stderr", f"-config.file={file}")
    for name, text in cases:
        file.write_bytes(text.encode())
        done = run(*words, cwd=tmp_path)
        printed = _printed(done.stderr) if done.returncode == 0 else None
        tally.add(name, text, None if printed is None else _urls(printed), known)
        if printed is not None and peers(text) is not None:
            ours, theirs = _listener(yaml.safe_load(text)), _listener(printed)
            assert all(theirs[key] == value for key, value in ours.items()), (
                name,
                ours,
                theirs,
            )
    counted(record_property, "files of Loki", {"different": 0, **tally.counts})
    assert tally.differences == []
    assert tally.counts["alike"] >= 15


def _printed(text: str) -> dict[str, Any]:
    """Return the configuration that Loki prints between the lines of its log."""
    lines = [
        line for line in text.splitlines() if re.match(r"[a-z_ -]", line) and not line.startswith("level=")
    ]
    content: dict[str, Any] = yaml.load("\n".join(lines), Loader=yaml.BaseLoader)  # noqa: S506  # texts alone
    return content


def _urls(content: Mapping[str, Any]) -> set[str]:
    """Return the ruler's peers; all others are Loki's defaults, and off."""
    found = {target for _, target in _targets({"ruler": content.get("ruler") or {}})}
    return {each for each in found if "alertmanager" in each or each == PEER or "10." in each}


def _listener(content: Any) -> dict[str, str]:
    server = content.get("server") if isinstance(content, Mapping) else None
    given = server if isinstance(server, Mapping) else {}
    return {key: given[key] for key in LISTENS if isinstance(given.get(key), str)}


PROMTAIL_PLACES: Final[tuple[Trail, ...]] = (
    ("server", "http_listen_address"),
    ("server", "http_listen_port"),
    ("clients",),
    ("clients", 0),
    ("clients", 0, "url"),
    ("scrape_configs",),
    ("scrape_configs", 0, "job_name"),
    ("scrape_configs", 0, "static_configs"),
    ("scrape_configs", 0, "static_configs", 0, "targets"),
    ("scrape_configs", 0, "static_configs", 0, "labels"),
    ("scrape_configs", 0, "static_configs", 0, "labels", "job"),
    ("scrape_configs", 0, "pipeline_stages"),
    ("positions", "filename"),
)


def test_promtail_has_no_client_that_the_pack_does_not_see(
    tools: dict[str, Path], tmp_path: Path, record_property: Record
) -> None:
    """Each URL in a file that Promtail takes is read by the pack, or the pack refuses the file."""
    base = rendered(promtail, "promtail", "/etc/promtail/config.yml")
    known = peers(yaml.safe_dump(base))
    assert known is not None
    tally, file = Tally(), tmp_path / "promtail.yml"
    cases = [*odd(base, PROMTAIL_PLACES, 1, 2000)]
    for name, text in cases:
        file.write_bytes(text.encode())
        done = run(tools["promtail"], "-check-syntax", f"-config.file={file}", cwd=tmp_path)
        theirs = _strings(text) if done.returncode == 0 else None
        tally.add(name, text, theirs, known)
    counted(record_property, "files of Promtail", {"different": 0, **tally.counts})
    assert tally.differences == []
    assert tally.counts["alike"] >= 20


def _strings(text: str) -> set[str]:
    """Return the URLs of a file, each as it is written; Promtail prints none of what it reads."""
    return set(re.findall(r"(?<=url: )https?://\S+", text))
