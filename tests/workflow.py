"""Runs a GitHub workflow locally, step by step: each job in its own folder, with real git, make and node.

GitHub's part is emulated: conditions, the actions that the workflows use, artifacts passed between jobs. An
unknown action or expression raises NotImplementedError instead of being skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.clone import environment

NODE: Final = shutil.which("node")
HARNESS: Final = """
const said = [], comments = JSON.parse(process.env.COMMENTS || '[]')
const core = {setFailed: text => said.push(['failed', text])}
const context = {repo: {owner: 'o', repo: 'r'}, payload: JSON.parse(process.env.PAYLOAD)}
const issues = {
  listComments: 'listComments',
  createComment: async one => said.push(['created', one.body]),
  updateComment: async one => said.push(['updated', one.comment_id, one.body]),
}
const github = {rest: {issues}, paginate: async () => comments}
const run = async () => {
%s
}
run().then(() => console.log(JSON.stringify(said)))
"""
"""The interface of actions/github-script for a script; records the script's actions as JSON."""


@dataclass
class Job:
    """A job's outcome: `said` is what its script did, `scanned` what it sent to code scanning."""

    passed: bool = True
    log: str = ""
    said: list[Any] = field(default_factory=list)
    scanned: list[Any] = field(default_factory=list)


@dataclass
class Runner:
    """Runs workflows for one event. `hub` is the repository on GitHub, `ref` the ref to check out."""

    hub: Path
    ref: str
    event: Mapping[str, Any]
    folder: Path
    make: str
    """Variables for make, so that it uses this environment."""

    def run(self, workflow: Path) -> dict[str, Job]:
        """Return every job that ran, in the order of the file; a needed job must precede its dependents."""
        done: dict[str, Job] = {}
        for name, job in _load(workflow)["jobs"].items():
            needed = [job["needs"]] if "needs" in job else []
            if not self._holds(job.get("if"), all(done[each].passed for each in needed), {}):
                continue
            for number, row in enumerate(job.get("strategy", {}).get("matrix", {}).get("include", [{}])):
                title = " ".join((name, *row.values()))
                done[title] = self._job(job, self.folder / f"{name}-{number}", row)
        return done

    def _job(self, job: dict[str, Any], place: Path, row: Mapping[str, str]) -> Job:
        (place / "work").mkdir(parents=True)
        result = Job()
        for step in job["steps"]:
            if not self._holds(step.get("if"), result.passed, row):
                continue
            try:
                self._step(step, place / "work", row, result)
            except (subprocess.CalledProcessError, FileNotFoundError) as fault:
                result.log += f"{fault}\n{getattr(fault, 'stderr', '')}"
                result.passed = result.passed and bool(step.get("continue-on-error"))
        return result

    def _step(self, step: dict[str, Any], work: Path, row: Mapping[str, str], result: Job) -> None:
        options = step.get("with", {})
        match step.get("uses", "run").partition("@")[0]:
            case "run":
                result.log += self._command(step, work, row)
            case "actions/checkout":
                self._checkout(work, options.get("fetch-depth", 1))
            case "actions/setup-python":
                self._filled(options["python-version"], row)  # the job runs on this interpreter
            case "actions/upload-artifact":
                self._upload(work, options)
            case "actions/download-artifact":
                shutil.copytree(self.folder / "artifacts" / options["name"], work / options["path"])
            case "actions/github-script":
                result.said += script(options["script"], work, self.event)
                if any(words[0] == "failed" for words in result.said):
                    raise subprocess.CalledProcessError(1, "github-script")
            case "github/codeql-action/upload-sarif":
                result.scanned += json.loads((work / options["sarif_file"]).read_text())["runs"]
            case other:
                raise NotImplementedError(other)

    def _command(self, step: dict[str, Any], work: Path, row: Mapping[str, str]) -> str:
        given = {name: self._filled(text, row) for name, text in step.get("env", {}).items()}
        made = {"MAKEFLAGS": self.make, "MAKELEVEL": "0", "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
        return _run(["bash", "-ec", step["run"]], work, environment(work) | made | given)

    def _checkout(self, work: Path, depth: int) -> None:
        for words in (
            ["init", "--quiet"],
            ["fetch", "--quiet", "--no-tags", f"--depth={depth}", f"file://{self.hub}", self.ref],
            ["checkout", "--quiet", "--detach", "FETCH_HEAD"],
        ):
            _run(["git", *words], work, os.environ)

    def _upload(self, work: Path, options: Mapping[str, str]) -> None:
        found = list(work.glob(options["path"]))
        if not found and options["if-no-files-found"] == "error":
            raise FileNotFoundError(options["path"])
        (self.folder / "artifacts" / options["name"]).mkdir(parents=True)
        for file in found:
            shutil.copy(file, self.folder / "artifacts" / options["name"])

    def _holds(self, condition: str | None, passed: bool, row: Mapping[str, str]) -> bool:
        """Whether an `if` (a chain of `&&`) holds; without one, the previous steps must have passed."""
        if condition is None:
            return passed
        terms = condition.removeprefix("${{").removesuffix("}}").split("&&")
        return all(self._term(term.strip(), row) for term in terms)

    def _term(self, term: str, row: Mapping[str, str]) -> bool:
        if term == "!cancelled()":
            return True
        if term.startswith("!"):
            return not self._value(term[1:], row)
        left, equal, right = term.partition(" == ")
        if not equal:
            raise NotImplementedError(term)
        return bool(self._value(left, row) == self._value(right, row))

    def _filled(self, text: str, row: Mapping[str, str]) -> str:
        return str(self._value(text[3:-2].strip(), row)) if text.startswith("${{") else text

    def _value(self, name: str, row: Mapping[str, str]) -> Any:
        github = {"repository": self.event["repository"]["full_name"], "event": self.event}
        value: Any = {"github": github, "matrix": row}
        for part in name.split("."):
            value = value[part]
        return value


def script(text: str, work: Path, payload: object, comments: object = ()) -> list[Any]:
    """Return what a script of actions/github-script does, given the event and the comments so far."""
    variables = {"PAYLOAD": json.dumps(payload), "COMMENTS": json.dumps(comments)}
    said: list[Any] = json.loads(_run([str(NODE), "-e", HARNESS % text], work, variables))
    return said


def _load(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    return found


def _run(command: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True)
    return done.stdout
