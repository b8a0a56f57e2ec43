"""Imports go one way: topology <- components, policies <- verify, report; nobody sees the lab."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ALLOWED: dict[str, set[str]] = {
    "topology": {"topology"},
    "components": {"components", "topology"},
    "policies": {"policies", "topology"},
    "verify": {"verify", "policies", "topology"},
    "report": {"report", "policies", "topology"},
    "preflight": {"preflight", "verify", "topology"},
    "__main__.py": {"components", "topology"},
    "examples": set(),
}
PROVIDERS = {"pulumi", "pulumi_docker", "pulumi_proxmoxve", "pulumi_command", "pulumi_policy"}
OURS = {"topology", "components", "policies", "verify", "report", "preflight", "lab", "tests", "bench"}


def imported(file: Path) -> set[str]:
    """Top-level names of the packages that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def files(part: str) -> list[Path]:
    """The Python files of a top-level part, which must not be none."""
    found = [PROJECT / part] if part.endswith(".py") else sorted((PROJECT / part).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_one_way(part: str) -> None:
    """No file imports a part of the project that its own part may not know."""
    wrong = {
        str(file.relative_to(PROJECT)): sorted(names)
        for file in files(part)
        if (names := (imported(file) & OURS) - ALLOWED[part])
    }
    assert wrong == {}


def test_topology_imports_no_provider() -> None:
    """The words, the loader and the reachability engine are pure Python."""
    wrong = [str(file) for file in files("topology") if imported(file) & PROVIDERS]
    assert wrong == []


def test_policies_know_no_provider_package() -> None:
    """The pack judges resources as they arrive; it never builds one."""
    wrong = [
        str(file)
        for file in files("policies")
        if imported(file) & {"pulumi_docker", "pulumi_proxmoxve", "pulumi_command"}
    ]
    assert wrong == []


def test_a_wrong_import_is_seen(tmp_path: Path) -> None:
    """The reader of imports finds both forms, so the tests above can fail."""
    file = tmp_path / "wrong.py"
    file.write_text("import lab.engine\nfrom components.container import ContainerService\n")
    assert imported(file) == {"lab", "components"}


def test_main_only_composes() -> None:
    """`__main__.py` has at most 40 lines and no branch."""
    text = (PROJECT / "__main__.py").read_text(encoding="utf-8")
    branches = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.If | ast.Try | ast.While)]
    assert (len(text.splitlines()) <= 40, branches) == (True, [])
