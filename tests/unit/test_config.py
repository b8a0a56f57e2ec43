import json
import re
import runpy
from datetime import date
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import ModuleType
from typing import Any

import pulumi
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.__main__ import serves
from tests.site import FILE, changed, configuration, listed, numbered
from topology import checks, config, model
from topology.checks import flow_rules
from topology.config import ConfigError, from_file, from_pulumi_json, load
from topology.model import Certificate, Container, Guest, Topology

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENT = PROJECT / "docs" / "configuration.md"
BAD: list[dict[str, Any]] = yaml.safe_load(
    listed(Path(__file__).with_name("bad_configurations.yaml").read_text(encoding="utf-8"))
)


def refusal(values: dict[str, Any]) -> str:
    """Load a bad configuration and return the message."""
    with pytest.raises(ConfigError) as refused:
        load(values)
    return str(refused.value)


def flat(values: dict[str, Any]) -> dict[str, str]:
    """Return the keys in the engine's form."""
    return {
        f"homelab-network:{key}": value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in values.items()
    }


ELSEWHERE = {"served", "routers", "off_road", "hidden", "router_guest", "doubled", "containers", "between"}
"""Checks that `test_half_config`, `test_router`, `test_router_guest` and `test_docker_hosts` try."""


@cache
def read() -> list[tuple[str, Any, Any]]:
    """Return each bad configuration's message, the site that the reader returns, and the reader's faults."""
    found: list[tuple[str, Any, Any]] = []
    for case in BAD:
        reader, values = config._Reader(), changed(case["change"])
        found.append((numbered(case["message"], values), reader.site(values), reader.faults))
    return found


class TestSite:
    """The site that a stack file becomes."""

    def test_flows(self, site: Topology) -> None:
        """The flows are those of the file, in its order."""
        assert list(map(str, site.flows)) == configuration()["flows"]

    def test_routes(self, site: Topology) -> None:
        """Each routed service has the host name and zone of the file."""
        assert [(r.service, r.host.removesuffix(".homelab.localhost"), r.url) for r in site.routes] == [
            ("grafana", "grafana", "http://grafana:3000"),
            ("prometheus-ui", "prometheus", "http://prometheus-ui:8080"),
            ("site-1", "site-1", "https://10.10.10.11:443"),
            ("site-2", "site-2", "https://10.10.10.12:443"),
            ("jellyfin", "jellyfin", "http://10.10.20.11:8096"),
            ("stirling-pdf", "stirling-pdf", "http://10.10.20.12:8080"),
            ("vaultwarden", "vaultwarden", "http://10.10.30.11:80"),
        ]

    def test_legs(self, site: Topology) -> None:
        """The ingress has one leg, with its own address, on each of the three VLANs."""
        assert [(leg.zone.vlan, leg.zone.network, str(leg.address)) for leg in site.legs.every] == [
            (10, "vlan10", "10.10.10.2"),
            (20, "vlan20", "10.10.20.2"),
            (30, "vlan30", "10.10.30.2"),
        ]

    def test_places(self, site: Topology) -> None:
        """Every service is in the networks of its zones."""
        assert {name: service.zones for name, service in site.services.items()} == {
            "traefik": ("edge", "frontend"),
            "grafana": ("frontend", "query"),
            "prometheus-ui": ("frontend", "query"),
            "prometheus": ("query", "backend", "probe"),
            "loki-gateway": ("query", "backend"),
            "loki": ("backend",),
            "node-exporter": ("backend",),
            "cadvisor": ("backend",),
            "blackbox-exporter": ("probe",),
            "promtail": ("backend",),
            "site-1": ("wordpress",),
            "site-2": ("wordpress",),
            "jellyfin": ("apps",),
            "stirling-pdf": ("apps",),
            "vaultwarden": ("vault",),
        }

    def test_zones(self, site: Topology) -> None:
        """Every zone has the role, tag and prefix of the file."""
        assert {z.name: (z.role.value, z.vlan, z.prefix) for z in site.zones.values()} == {
            "management": ("management", None, IPv4Network("10.10.1.0/24")),
            "edge": ("edge", None, IPv4Network("172.30.0.0/24")),
            "frontend": ("frontend", None, IPv4Network("172.30.1.0/24")),
            "query": ("query", None, IPv4Network("172.30.2.0/24")),
            "backend": ("backend", None, IPv4Network("172.30.3.0/24")),
            "probe": ("probe", None, IPv4Network("172.30.4.0/24")),
            "wordpress": ("tenant", 10, IPv4Network("10.10.10.0/24")),
            "apps": ("tenant", 20, IPv4Network("10.10.20.0/24")),
            "vault": ("isolated", 30, IPv4Network("10.10.30.0/24")),
        }

    def test_hosts(self, site: Topology) -> None:
        """Hosts, domain and certificate come from the file, with hyphens as underscores."""
        assert (site.domain, site.name_prefix) == ("homelab.localhost", "")
        assert site.docker.data_root == "/var/lib/homelab-network/docker"
        assert site.docker.address == IPv4Address("0.0.0.0")  # noqa: S104  # the documented default
        assert (site.proxmox.name, site.proxmox.template) == ("proxmox-srv", 9000)
        assert site.tls == Certificate(
            certificate="$HOMELAB_STATE/tls/ingress.crt", key="$HOMELAB_STATE/tls/ingress.key"
        )

    @pytest.mark.parametrize(
        ("written", "read"), [(True, True), (False, False), ("true", True), ("false", False)]
    )
    def test_protection_is_read_as_pulumi_writes_it(self, written: object, read: bool) -> None:
        """The quoted scalar of `pulumi config set` is read; without the key, data is protected."""
        changes = ({"protect": written}, {"protect": "<gone>"})
        assert [load(changed(change)).protect for change in changes] == [read, True]

    def test_engine_and_file_agree(self, site: Topology) -> None:
        """The engine's flat JSON map makes the same site as the file, with any other keys beside it."""
        assert (
            from_pulumi_json({**flat(configuration()), "proxmoxve:endpoint": "x", "docker:zones": "[]"})
            == site
        )


class TestGood:
    """Configurations that load."""

    def test_host_with_dots(self) -> None:
        """A host name with dots is kept; one without gets the domain."""
        services = load(
            changed({"services.grafana.host": "g.example", "services.jellyfin.host": "films"})
        ).services
        assert (services["grafana"].host, services["jellyfin"].host) == (
            "g.example",
            "films.homelab.localhost",
        )

    @pytest.mark.parametrize(
        "image",
        [
            "nginx:1",
            "grafana/grafana:12.1.0",
            "registry.lan:5000/a/b_c:v1.2-x",
            "nginx@sha256:" + "0" * 64,
            "nginx:latest@sha256:" + "0" * 64,
        ],
    )
    def test_image(self, image: str) -> None:
        """An image may have a version or a digest, with or without a registry."""
        assert load(changed({"services.loki.image": image}))

    @pytest.mark.parametrize(
        "flow",
        [
            "vaultwarden -> internet:443/tcp",
            "traefik -> internet:443/tcp",
            "management -> jellyfin:8096/tcp",
            "management -> traefik:443/tcp",
            "jellyfin -> stirling-pdf:8080/tcp",
            "jellyfin -> traefik:443/tcp",
        ],
    )
    def test_flow(self, flow: str) -> None:
        """A flow that is possible and breaks no hard rule may be declared."""
        assert str(load(changed({"flows[+]": flow})).flows[-1]) == flow

    def test_exception_and_assertion(self) -> None:
        """Exceptions and assertions are read; a timestamp at midnight, as the engine writes it, is a date."""
        exception = {"rule": "r", "resource": "x", "reason": "because of that", "owner": "me"}
        for expires in (
            "2027-01-31",
            "2027-01-31T00:00:00Z",
            "2027-01-31 00:00:00 +0000 UTC",
            date(2027, 1, 31),
        ):
            site = load(
                changed(
                    {
                        "exceptions": [{**exception, "expires": expires}],
                        "assertions": [
                            {"src": "internet", "accept": ["traefik:443"], "deny": ["loki:22/tcp"]}
                        ],
                    }
                )
            )
            assert site.exceptions[0].expires == date(2027, 1, 31)
            assert site.assertions[0].deny == ("loki:22/tcp",)


class TestBad:
    """Bad configurations and their messages."""

    @pytest.mark.parametrize("case", BAD, ids=[case["id"] for case in BAD])
    def test_message(self, case: dict[str, Any]) -> None:
        """A bad configuration is refused with exactly these lines."""
        values = changed(case["change"])
        assert refusal(values) == numbered(case["message"], values)

    @pytest.mark.parametrize("case", BAD, ids=[case["id"] for case in BAD])
    @pytest.mark.slow
    def test_engine_says_the_same(self, case: dict[str, Any]) -> None:
        """The engine's flat map is refused with the same lines as the file, where JSON can express it."""
        if case["id"] == "not plain":
            assert json.loads(json.dumps(b"10", default=str)) == "b'10'"
            return
        values = changed(case["change"])
        with pytest.raises(ConfigError) as refused:
            from_pulumi_json(flat(values))
        assert str(refused.value) == numbered(case["message"], values)

    def test_enough(self) -> None:
        """The table has at least 45 cases, and no case twice."""
        assert len({case["id"] for case in BAD}) == len(BAD) >= 45
        assert len({json.dumps(case["change"], default=str) for case in BAD}) == len(BAD)

    @pytest.mark.parametrize(
        ("module", "table", "place"),
        [
            pytest.param(module, table, place, id=one.__name__)
            for module, table in ((checks, "_CHECKS"), (flow_rules, "_FLOW_RULES"))
            for place, one in enumerate(getattr(module, table))
            if one.__name__ not in ELSEWHERE
        ],
    )
    @pytest.mark.slow
    def test_every_check_counts(
        self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, table: str, place: int
    ) -> None:
        """If a check or a flow rule is removed, a bad configuration loads or has fewer messages."""
        functions = getattr(module, table)
        monkeypatch.setattr(module, table, functions[:place] + functions[place + 1 :])
        told = ("\n".join(map(str, [*faults, *checks.check(site)])) for _, site, faults in read())
        assert any(was != now for (was, _, _), now in zip(read(), told, strict=True))

    @pytest.mark.slow
    def test_nothing_is_created(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """For every bad configuration the program ends with the message before its first resource."""
        created: list[object] = []
        pulumi.runtime.set_all_config({})  # overrides an earlier test's configuration
        monkeypatch.setattr(pulumi.Resource, "__init__", lambda *_args, **_options: created.append(1))
        for case in BAD:
            monkeypatch.setenv("PULUMI_CONFIG", json.dumps(flat(changed(case["change"]))))
            with pytest.raises(pulumi.RunError):
                runpy.run_path(str(PROJECT / "__main__.py"))
        assert created == []

    def test_all_at_once(self) -> None:
        """Faults of shape and of meaning, in any number of places, are reported together."""
        changes = {
            "nmae-prefix": "x",
            "domain": "Home Lab",
            "zones.apps.vlan": 5000,
            "zones.wordpress.vlan": 30,
            "services.loki.image": "grafana/loki",
            "services.site-1.vmid": 102,
            "flows[+]": "grafana -> nosuch:1/tcp",
        }
        values = changed(changes)
        last = len(values["flows"]) - 1
        assert [line.partition(":")[0] for line in refusal(values).splitlines()] == [
            "nmae-prefix",
            "domain",
            "zones.apps.vlan",
            "zones.vault.vlan",
            "services.site-2.vmid",
            "services.loki.image",
            f"flows[{last}]",
        ]

    def test_no_secret_in_a_message(self) -> None:
        """A secret is not repeated in a message, whichever key it was written to by mistake."""
        key = "-----BEGIN PRIVATE KEY-----\nTOPSECRET"
        for path in ("tls.key", "domain", "services.loki.image", "zones.apps.prefix", "flows"):
            assert "TOPSECRET" not in refusal(changed({path: key}))
        with pytest.raises(ConfigError, match=r"^domain: is encrypted; ") as refused:
            from_pulumi_json(flat(changed({"domain": "TOP SECRET"})), ["homelab-network:domain"])
        assert "TOP SECRET" not in str(refused.value)


class TestFile:
    """Files that are not stack files."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "config: *nobody",
                "Pulumi.x.yaml:1: an alias has no anchor above it; write its anchor there, or quote the *.",
            ),
            (
                "a: 1\nconfig: {b: 1,\n b: 2}",
                "Pulumi.x.yaml:3: the key b is written twice; remove one of the two.",
            ),
            (
                "config:\n  ports: [22:22]",
                "Pulumi.x.yaml:2: a value with a colon reads as a number; write it in quotes.",
            ),
            *(
                (
                    f"config:\n  version: {text}",
                    "Pulumi.x.yaml:2: a text reads as a number to the engine; write it in quotes.",
                )
                for text in ("1e3", "08", "0o17", "+.5", "1.5e3", "12e03")
            ),
            (
                "config: 2026-13-45",
                "Pulumi.x.yaml:1: a value is not what it looks like; correct the YAML there.",
            ),
            ("", "Pulumi.x.yaml: is empty; write config: and the homelab-network: keys below it."),
            ("config: 1", "Pulumi.x.yaml: has no mapping config; put the homelab-network: keys below one."),
            ("a: \x07", "Pulumi.x.yaml:1: has a control character; remove it."),
            ("config: " + "[" * 100_000, "Pulumi.x.yaml: is nested too deeply; write it as plain YAML."),
        ],
    )
    def test_broken(self, tmp_path: Path, text: str, message: str) -> None:
        """A broken file is refused with the place of the fault."""
        (tmp_path / "Pulumi.x.yaml").write_text(text)
        with pytest.raises(ConfigError) as refused:
            from_file(tmp_path / "Pulumi.x.yaml")
        assert str(refused.value) == message

    def test_missing(self, tmp_path: Path) -> None:
        """A missing file is refused by name."""
        with pytest.raises(ConfigError) as refused:
            from_file(tmp_path / "Pulumi.none.yaml")
        message = "Pulumi.none.yaml: cannot be read (No such file or directory); name a stack file."
        assert str(refused.value) == message

    def test_recursive(self, tmp_path: Path) -> None:
        """Recursive YAML is refused."""
        (tmp_path / "Pulumi.x.yaml").write_text("config: {'homelab-network:zones': &a [*a]}")
        with pytest.raises(ConfigError, match=r"zones: holds more than text"):
            from_file(tmp_path / "Pulumi.x.yaml")

    def test_other_namespaces(self, tmp_path: Path) -> None:
        """Keys of other namespaces are ignored."""
        text = FILE.read_text().replace("config:\n", "config:\n  docker:host: {secure: x}\n")
        (tmp_path / "Pulumi.x.yaml").write_text(text)
        assert from_file(tmp_path / "Pulumi.x.yaml") == from_file(FILE)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.binary(max_size=4)
    | st.dates()
    | st.sampled_from(["traefik", "apps", "a -> b:1/tcp", "10.0.0.0/24", "10.10.20.11", "\ud800", "zone", 1]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "apps",
                    "edge",
                    "traefik",
                    "name",
                    "role",
                    "vlan",
                    "prefix",
                    "zone",
                    "vmid",
                    "kind",
                    "secure",
                ]
            )
            | st.text(max_size=6)
            | st.integers(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return every path inside a nested value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for step, inner in steps for place in places(inner, (*way, step)))]


PLACES = places(configuration())[1:]


def judge(values: Any) -> None:
    """Load values, and check the form of the messages if they are refused."""
    try:
        load(values)
    except ConfigError as error:
        refused = error
    else:
        return
    lines = str(refused).splitlines()
    assert len(lines) == len(refused.faults) == len(set(lines)) > 0
    assert all(re.fullmatch(r"[^ ].*: .+; .+\.", line) for line in lines), lines


QUICK = settings(max_examples=80, deadline=None, derandomize=True, database=None)


@pytest.mark.slow
class TestNoTraceback:
    """Any input loads or raises ConfigError, never another error."""

    @QUICK
    @given(st.dictionaries(st.sampled_from(sorted(configuration())) | st.text(max_size=5), JUNK))
    def test_anything(self, values: dict[str, Any]) -> None:
        """Any nested junk loads or is refused with messages in our form."""
        judge(values)

    @QUICK
    @given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=3))
    def test_the_stack_with_junk_in_it(self, changes: list[tuple[tuple[Any, ...], Any]]) -> None:
        """The stack with junk anywhere in it loads or is refused with messages in our form."""
        values = configuration()
        for (*way, last), junk in changes:
            place: Any = values
            try:
                for step in way:
                    place = place[step]
                place[last] = junk
            except (KeyError, TypeError, IndexError):
                continue
        judge(values)

    @QUICK
    @given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(PLACES)), min_size=1, max_size=3))
    def test_the_stack_with_itself_mixed(self, swaps: list[tuple[tuple[Any, ...], tuple[Any, ...]]]) -> None:
        """The stack with its own parts in wrong places loads or is refused with messages in our form."""
        values = configuration()
        for (*way, last), source in swaps:
            place: Any = values
            part: Any = configuration()
            try:
                for step in way:
                    place = place[step]
                for step in source:
                    part = part[step]
                place[last] = part
            except (KeyError, TypeError, IndexError):
                continue
        judge(values)

    @QUICK
    @given(st.dictionaries(st.sampled_from(sorted(configuration())), st.text(max_size=20)))
    def test_any_text_from_the_engine(self, values: dict[str, str]) -> None:
        """Any text in place of JSON is refused with ConfigError."""
        with pytest.raises(ConfigError):
            from_pulumi_json({f"homelab-network:{key}": text for key, text in values.items()})


class TestDocument:
    """docs/configuration.md is correct."""

    @pytest.mark.parametrize(
        ("heading", "kind"), [("A new guest", Guest), ("A new container service", Container)]
    )
    def test_six_lines(self, heading: str, kind: type) -> None:
        """The documented example takes at most six lines and loads."""
        section = DOCUMENT.read_text().split(f"### {heading}\n")[1].split("\n##")[0]
        values, lines, names = configuration(), 0, set[str]()
        for block in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL):
            lines += len(block.splitlines())
            part = yaml.safe_load(block)
            if isinstance(part, dict):
                names |= part.keys()
                values["services"] |= part
            else:
                values["flows"] += [each for each in part if isinstance(each, str)]
                values["unencrypted"] += [each for each in part if isinstance(each, dict)]
        assert 0 < lines <= 6
        site = load(values)
        assert [type(site.services[name]) for name in names] == [kind]
        assert {route.service for route in site.routes} >= names

    def test_every_key(self) -> None:
        """Every key has a row of its own in the document."""
        rows = set(re.findall(r"^\| `([a-z_-]+)`", DOCUMENT.read_text(), re.MULTILINE))
        kinds = (
            model.DockerHost,
            model.Ssh,
            model.ProxmoxHost,
            model.RouterHost,
            model.Zone,
            model.Container,
            model.Mount,
            model.Healthcheck,
            model.NamedVolume,
            model.FileServer,
            model.Guest,
            model.LxcGuest,
            model.MountPoint,
            model.Certificate,
            model.Acme,
            model.Temporary,
            model.Certificates,
            model.Unencrypted,
            model.PolicyException,
            model.Assertion,
            model.SshVantage,
            model.ImageVantage,
        )
        assert rows == {*config.KEYS, "kind", "acme", *(key for kind in kinds for key in config._keys(kind))}


def test_what_the_lab_serves_goes_with_it() -> None:
    """No stack of the lab protects its data, since `make down` deletes it."""
    served = [file for file in PROJECT.glob("Pulumi.*.yaml") if serves(file.name.split(".")[1])]
    assert [file.name for file in served if from_file(file).protect] == []
    assert len(served) >= 2
