"""Imports have one direction, from topology to commands; only tests and bench import the lab."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ALLOWED: dict[str, set[str]] = {
    "topology": {"topology"},
    "rendered": {"rendered", "topology"},
    "reachability": {"reachability", "topology"},
    "resources": {"resources", "topology", "reachability", "rendered"},
    "components": {"components", "topology", "rendered"},
    "policies": {"policies", "topology", "rendered", "reachability", "resources"},
    "verify": {"verify", "topology", "reachability", "resources", "rendered"},
    "report": {"report", "topology", "reachability", "resources", "rendered"},
    "survey": {"survey", "topology", "reachability", "resources", "report"},
    "compose": {"compose", "topology"},
    "preflight": {"preflight", "survey", "verify", "topology", "rendered"},
    "adoption": {"adoption", "compose", "survey", "preflight", "topology", "reachability", "resources"},
    "commands": {
        "commands",
        "adoption",
        "compose",
        "preflight",
        "survey",
        "policies",
        "verify",
        "report",
        "topology",
        "reachability",
        "resources",
        "rendered",
    },
    "__main__.py": {"components", "topology"},
    "examples": set(),
}
PURE = ("topology", "rendered", "reachability")
PROVIDERS = {"pulumi", "pulumi_docker", "pulumi_proxmoxve", "pulumi_command", "pulumi_policy"}
OURS = {*ALLOWED, "lab", "tests", "bench"}


def imported(file: Path) -> set[str]:
    """Return the top-level names that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def files(part: str) -> list[Path]:
    """Return the Python files of a top-level part; at least one."""
    found = [PROJECT / part] if part.endswith(".py") else sorted((PROJECT / part).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_one_way(part: str) -> None:
    """No file imports a part of the project that its own part may not import."""
    wrong = {
        str(file.relative_to(PROJECT)): sorted(names)
        for file in files(part)
        if (names := (imported(file) & OURS) - ALLOWED[part])
    }
    assert wrong == {}


@pytest.mark.parametrize("part", PURE)
def test_what_is_pure_imports_no_provider(part: str) -> None:
    """Topology, rendered and reachability import no provider."""
    wrong = [str(file) for file in files(part) if imported(file) & PROVIDERS]
    assert wrong == []


def test_packages_form_no_circle() -> None:
    """No package imports itself through other packages."""
    parts = [part for part in ALLOWED if not part.endswith(".py")]
    graph = {
        part: set[str]().union(*(imported(file) for file in files(part))) & OURS - {part} for part in parts
    }
    assert set(TopologicalSorter(graph).static_order()) >= set(parts)  # raises CycleError


def test_policies_know_no_provider_package() -> None:
    """The pack reads registered resources and never imports a provider's package."""
    wrong = [
        str(file)
        for part in ("policies", "resources")
        for file in files(part)
        if imported(file) & {"pulumi_docker", "pulumi_proxmoxve", "pulumi_command"}
    ]
    assert wrong == []


def test_a_wrong_import_is_seen(tmp_path: Path) -> None:
    """Both forms of an import are found, so the tests above can fail."""
    file = tmp_path / "wrong.py"
    file.write_text("import lab.engine\nfrom components.container import ContainerService\n")
    assert imported(file) == {"lab", "components"}


def test_main_only_composes() -> None:
    """`__main__.py` has at most 40 lines and no branch."""
    text = (PROJECT / "__main__.py").read_text(encoding="utf-8")
    branches = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.If | ast.Try | ast.While)]
    assert (len(text.splitlines()) <= 40, branches) == (True, [])
