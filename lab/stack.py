"""Runs Pulumi on one stack, always with the policy pack, and recovers from killed runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab import orphans, paths
from lab.errors import LabError
from lab.process import run, show, tail
from lab.progress import Progress
from preflight import machine

_PACK = ("--policy-pack", "policies/serve")
_GUESTS = ("proxmoxve:index/vmLegacy:VmLegacy", "proxmoxve:index/containerLegacy:ContainerLegacy")
_FIREWALL = "proxmoxve:firewall/"
_OTHER_RUN_SECONDS = 180
"""How long to wait for another run that has not ended."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack of this project and the environment of its commands."""

    name: str
    environment: Mapping[str, str]
    in_lab: bool = False
    """Whether the lab serves the stack, so that the lab removes what a killed run left."""

    def select(self) -> None:
        """Select the stack; creates it in the backend where it is missing."""
        self._ask("select the stack", "stack", "select", "--create", self.name)

    def set_secret(self, key: str, value: str) -> None:
        """Encrypt a value into the stack file."""
        self._ask(f"set {key}", "config", "set", "--secret", key, stdin=value)

    def preview(self, *arguments: str) -> int:
        """Show what `up` would do, checked by the pack; returns Pulumi's exit status."""
        self._tell_unjudged()
        return self._show("preview", *_PACK, *arguments)

    def up(self, *again: str) -> int:
        """Refresh, preview and, when the pack refuses nothing, update; returns the exit status.

        A refresh finds changes made outside Pulumi, and the update reverts them. `again` holds ends of URNs
        of resources that no refresh can read; these are recreated. Call `resume` first.
        """
        self._tell_unjudged()
        if status := self._show("refresh", "--yes", "--skip-preview"):
            return status
        self._forget_with_their_guests()
        return self._show("up", "--yes", *_PACK, *(f"--replace=**{urn}" for urn in again))

    def destroy(self) -> int:
        """Remove every resource, or none if one is protected; Pulumi alone stops midway at that one."""
        self.resume()
        self.forget_interrupted()
        kept = [each for each in self.deployment().get("resources", []) if each.get("protect")]
        if kept:
            raise LabError(
                f"stack {self.name}: {len(kept)} of its resources are protected; to lose their data too, set "
                f"protect: false in Pulumi.{self.name}.yaml and run `make up STACK={self.name}` before"
            )
        return self._show("destroy", "--yes")

    def forget(self, package: str) -> None:
        """Remove every resource of a provider's package from the state; the real objects stay."""
        deployment = self.deployment()
        resources = deployment.get("resources") or []
        gone = {each["urn"] for each in resources if each["type"].startswith(f"{package}:")}
        kept = [without(each, gone) for each in resources if each["urn"] not in gone]
        self._write(f"forget what {package} made", {**deployment, "resources": kept})

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs for other projects."""
        return dict(json.loads(self._ask("read the outputs", "stack", "output", "--json")))

    def last_config(self) -> dict[str, Any]:
        """Return the keys of the stack file of the last `up`, without secrets; none where nothing is up."""
        done = (each for each in self._history() if each["result"] == "succeeded")
        last = next((each for each in done if each["kind"] in {"update", "destroy"}), None)
        if last is None or last["kind"] == "destroy":
            return {}
        return {key: _written(told) for key, told in last["config"].items()}

    def deployment(self) -> dict[str, Any]:
        """Return the exported state; empty where nothing was ever created."""
        exported = json.loads(self._ask("read the state", "stack", "export"))
        return dict(exported.get("deployment") or {})

    def _tell_unjudged(self) -> None:
        """Report a last update without the pack: the engine records the flags of each run."""
        last = next((update for update in self._history() if update["kind"] == "update"), None)
        if last and "pulumi.flag.policy-pack" not in last["environment"]:
            print(f"stack {self.name}: the update of {last['startTime']} was made without the policy pack")

    def _history(self) -> list[dict[str, Any]]:
        asked = self._ask("read the history", "stack", "history", "--json", "--page-size", "20")
        return list(json.loads(asked))

    def _forget_with_their_guests(self) -> None:
        """Remove from the state the firewall of deleted guests, which Proxmox deleted with them.

        The provider keeps options that it can no longer read. A recreated guest would therefore have its
        firewall off, with nothing to change.
        """
        deployment = self.deployment()
        resources = deployment.get("resources") or []
        guests = {each["inputs"]["vmId"] for each in resources if each["type"] in _GUESTS}
        kept = [
            each
            for each in resources
            if not each["type"].startswith(_FIREWALL) or _owner(each["inputs"]) in {None, *guests}
        ]
        if len(kept) < len(resources):
            print(f"stack {self.name}: the firewall of a guest that is gone is made anew with it")
            self._write("forget the firewall of a guest that is gone", {**deployment, "resources": kept})

    def resume(self) -> None:
        """Clear the lock of a killed run, and in the lab what it was making.

        In the lab, a half-created object with this stack's mark is removed, because the state does not know
        it. On real hosts nothing is removed outside Pulumi; the pre-flight reports what is in the way.
        """
        self._wait_for_lock()
        orphans.end_plugins()
        pending = self.deployment().get("pending_operations") or []
        if pending:
            print(f"stack {self.name}: a run was interrupted in {len(pending)} operation(s); going on")
        for operation in pending:
            if operation["type"] == "creating" and self.in_lab:
                orphans.remove(operation["resource"], self.environment)

    def forget_interrupted(self) -> None:
        """Drop the operations that a killed run left half-way from the state."""
        deployment = self.deployment()
        if deployment.pop("pending_operations", None):
            self._write("forget the interrupted operations", deployment)

    def _write(self, what: str, deployment: Mapping[str, Any]) -> None:
        """Replace the state with a changed one."""
        whole = json.dumps({"version": 3, "deployment": deployment})
        self._ask(what, "stack", "import", stdin=whole)

    def _wait_for_lock(self) -> None:
        """Wait for a run that has not ended; remove the lock of one that has."""
        backend = self.environment.get("PULUMI_BACKEND_URL") or os.environ.get("PULUMI_BACKEND_URL", "")
        if not backend.startswith("file://"):
            return  # such a backend locks by itself
        locks = machine.locks_of(backend, self.name)
        limit = time.monotonic() + _OTHER_RUN_SECONDS
        while others := [*machine.runs(self.name, locks)]:
            if time.monotonic() > limit:
                raise LabError(str(others[0]))
            print(f"{others[0].path}: waiting, because {others[0].fault}")
            time.sleep(2)
        if any(locks.glob("*.json")):
            self._ask("drop the lock of a killed run", "cancel", "--yes")

    def _ask(self, what: str, *words: str, stdin: str | None = None) -> str:
        return run(
            ["pulumi", *words, "--non-interactive", *self._stack(words)],
            f"stack {self.name}: {what}",
            env=self.environment,
            cwd=paths.PROJECT,
            stdin=stdin,
        )

    def _show(self, *words: str) -> int:
        """Run a long command and show its progress; returns Pulumi's exit status."""
        log = paths.STATE / f"log/{self.name}-{words[0]}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="homelab-network-") as folder, log.open("wb") as file:
            progress = Progress(label=f"pulumi {words[0]}", events=Path(folder) / "events.json")
            events = ("--event-log", progress.events)
            try:
                status = show(
                    ["pulumi", *words, "--non-interactive", *events, *self._stack(words)],
                    env={**self.environment, "PULUMI_DEBUG_COMMANDS": "true"},
                    cwd=paths.PROJECT,
                    log=file,
                    meanwhile=progress.look,
                )
            finally:
                progress.end()
        if status and not progress.problems:
            print(tail(log.read_text(encoding="utf-8", errors="replace")))
        print(f"  all of it: {log}")
        return status

    def _stack(self, words: tuple[str, ...]) -> tuple[str, ...]:
        return () if words[:2] == ("stack", "select") else ("--stack", self.name)


def _written(told: Mapping[str, Any]) -> Any:
    """Return a value of a history as a stack file has it: an object, a truth value or a text."""
    if told["secret"]:
        return {"secure": ""}
    value = told.get("objectValue", told.get("value"))
    return value == "true" if value in ("true", "false") else value


def without(resource: Mapping[str, Any], gone: Collection[str]) -> dict[str, Any]:
    """Return a resource of a state without its dependencies on resources that were removed from the state."""
    kept = {**resource}
    if "dependencies" in kept:
        kept["dependencies"] = [urn for urn in kept["dependencies"] if urn not in gone]
    if "propertyDependencies" in kept:
        kept["propertyDependencies"] = {
            name: [urn for urn in urns or () if urn not in gone]
            for name, urns in kept["propertyDependencies"].items()
        }
    return kept


def _owner(given: Mapping[str, Any]) -> Any:
    """Return the id of the guest that a firewall resource belongs to; None for the datacenter's."""
    return given.get("vmId") or given.get("containerId")
