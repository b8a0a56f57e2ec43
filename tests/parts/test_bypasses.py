"""The real program on Pulumi's real engine, with changes that open a service without moving a packet."""

import textwrap
from dataclasses import dataclass

import pytest

from tests.parts.copied import Engine, findings

CHANGED = """
import runpy
import pulumi

def change(args):
    match args.type_.rpartition(":")[2], args.name:
{cases}
    return pulumi.ResourceTransformationResult(props=args.props, opts=args.opts)

pulumi.runtime.register_stack_transformation(change)
runpy.run_path("program.py", run_name="__main__")
"""
"""The program, with a change of the properties of some resources before the engine gets them."""


@dataclass(frozen=True, kw_only=True)
class Bypass:
    """Statements that change one resource's `props`, and the message that must refuse it."""

    kind: str
    name: str
    change: str
    message: str

    @property
    def case(self) -> str:
        """The change as a case of the program."""
        lines = f"props = args.props\n{self.change}"
        return f"        case {self.kind!r}, {self.name!r}:\n{textwrap.indent(lines, ' ' * 12)}"


BYPASSES = {
    "content that the pack reads otherwise than the program": (
        Bypass(
            kind="Container",
            name="traefik",
            change='props["uploads"].append({"file": "/etc/traefik/dynamic/x.yml", "content": "",'
            ' "content_base64": "aHR0cDoge30K"})',
            message="traefik: /etc/traefik/dynamic/x.yml: expected nothing",
        ),
        Bypass(
            kind="Container",
            name="prometheus",
            change='props["command"].append("@/etc/prometheus/args")',
            message="prometheus: command[4] reads further arguments from a file",
        ),
    ),
    "programs put into containers": (
        Bypass(
            kind="Container",
            name="traefik",
            change='props["uploads"].append({"file": "/entrypoint.sh", "content": "exec evil\\n",'
            ' "permissions": "0755"})',
            message="traefik: /entrypoint.sh is an uploaded program",
        ),
        Bypass(
            kind="Container",
            name="loki",
            change='props["entrypoints"] = ["sh", "/etc/loki/config.yaml"]',
            message="loki: entrypoints[0]: expected nothing",
        ),
    ),
    "settings with an effect that no rule knows": (
        Bypass(
            kind="Container",
            name="traefik",
            change="""\
for each in props["uploads"]:
    if each.file == "/etc/traefik/traefik.yml":
        each.content = each.content.replace("permanent: true", "permanent: true\\n          priority: 1")""",
            message="traefik: /etc/traefik/traefik.yml line 10: expected `      sanitizePath: true`",
        ),
        Bypass(
            kind="Container",
            name="grafana",
            change='props["envs"].append("GF_AUTH_ANONYMOUS_ENABLED=true")',
            message="grafana: envs[GF_AUTH_ANONYMOUS_ENABLED]: expected nothing",
        ),
    ),
    "names, mounts, disks and hosts": (
        Bypass(
            kind="Container",
            name="prometheus-ui",
            change="""\
for each in props["networks_advanced"]:
    each.aliases = ["GRAFANA"]""",
            message="prometheus-ui: answers to GRAFANA on frontend, which is another service's name",
        ),
        Bypass(
            kind="Container",
            name="promtail",
            change='props["volumes"].append({"container_path": "/x", "host_path": "/run/docker",'
            ' "read_only": True})',
            message="promtail: mounts /run/docker, where the host's sockets are; read-only limits nothing",
        ),
        Bypass(
            kind="VmLegacy",
            name="site-1",
            change='props["disks"][0].path_in_datastore = "/dev/nvme0n1"',
            message="site-1: disks[0].pathInDatastore gives it content that is there already",
        ),
        Bypass(
            kind="Command",
            name="host-rules",
            change='args.opts.plugin_download_url = "https://x.example/"',
            message="default_1_2_1_https_/x.example: pluginDownloadURL takes its program from elsewhere",
        ),
    ),
}
"""Ways past the pack that no packet shows, by kind."""


@pytest.mark.parametrize("kind", BYPASSES)
def test_the_engine_refuses_what_opens_a_service_without_a_packet(engine: Engine, kind: str) -> None:
    """The preview fails, and names the cause of each bypass."""
    (engine.folder / "__main__.py").rename(engine.folder / "program.py")
    cases: dict[tuple[str, str], str] = {}
    for each in BYPASSES[kind]:
        at = each.kind, each.name
        cases[at] = f"{cases[at]}\n{textwrap.indent(each.change, ' ' * 12)}" if at in cases else each.case
    (engine.folder / "__main__.py").write_text(CHANGED.format(cases="\n".join(cases.values())))
    done = engine.preview()
    assert done.returncode != 0
    assert {each.message for each in BYPASSES[kind]} <= findings(done.stdout), done.stdout
