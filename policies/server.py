"""Serves the rules over Pulumi's analyzer protocol.

Owns the process that the engine starts for `--policy-pack policies/serve`, and a language host for
`--policy-pack policies`. It judges nothing itself. It speaks the protocol instead of using the SDK's
`PolicyPack`, which decodes the whole stack once for each rule, passes what it meets unknown with an
advisory, and takes names that do not exist in its configuration without a word.

What a reader would get wrong: the engine hands a resource's inputs to `Analyze` and its outputs to
`AnalyzeStack`. In a preview outputs of what is not there yet are unknown, so the stack is judged by the
inputs seen before; outputs count only for resources that were never analyzed, such as one that is merely
read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
from google.protobuf.message_factory import GetMessageClass  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2 as pb
from pulumi.runtime.proto import plugin_pb2

from policies.judge import Judged, conclude, judge_resource, judge_together
from policies.rule import RULES, Finding, Rule, Scope
from resources.resource import Resource, decode
from topology.config import ConfigError, from_file, from_pulumi_json
from topology.declared import Declared
from topology.model import Topology
from topology.project import NAME, PROJECT

PACK: Final = NAME
VERSION: Final = "0.1.0"
_MESSAGE: Final = 400 * 1024 * 1024
"""Bytes that one message may have, as in the SDK; a stack's resources come in one."""
_WATCH: Final = 5
"""Seconds between two looks whether who started the process still runs: a killed engine says no goodbye."""
_SEVERITY: Final = {
    "medium": pb.POLICY_SEVERITY_MEDIUM,
    "high": pb.POLICY_SEVERITY_HIGH,
    "critical": pb.POLICY_SEVERITY_CRITICAL,
}


class Analyzer:
    """One deployment's judge: it remembers every resource that it was shown.

    Its public methods are the protocol's. One that is missing, such as `Remediate`, the engine takes for
    nothing to do, and hears so without the cost of a call, which is most of what judging a resource costs.
    """

    def __init__(self) -> None:
        self._topology: Declared | None = None
        self._seen: dict[str, Judged] = {}

    def ConfigureStack(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Read the declared topology from the stack's configuration; a stack without a name has none."""
        if not request.stack:
            return pb.AnalyzerStackConfigureResponse()
        read = partial(from_pulumi_json, dict(request.config), tuple(request.config_secret_keys))
        self._topology = _read(read, context)
        return pb.AnalyzerStackConfigureResponse()

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Refuse what would change a rule, and names that no rule has."""
        faults = [
            f"{name}: no rule has this name; `python -m commands rules` lists them."
            if name not in RULES
            else f"{name}: rules are mandatory and take no settings; declare an exception instead."
            for name, config in request.policyConfig.items()
            if name not in RULES or config.enforcementLevel != pb.MANDATORY or config.properties.fields
        ]
        if faults:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "\n".join(sorted(faults)))
        return Empty()

    def Analyze(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Judge one resource by its inputs, before it is created."""
        topology = self._site(request.urn, context)
        judged = self._seen[request.urn] = judge_resource(_resource(request), topology)
        kept = conclude(judged.findings, topology, _today(), rules={}).findings
        return pb.AnalyzeResponse(diagnostics=map(_diagnostic, kept))

    def AnalyzeStack(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Judge the stack; also by themselves those resources that were not shown before."""
        if not request.resources:
            return pb.AnalyzeResponse()
        topology = self._site(request.resources[0].urn, context)
        told = {id(finding) for judged in self._seen.values() for finding in judged.findings}
        stack = [
            self._seen.get(shown.urn) or judge_resource(_resource(shown), topology)
            for shown in request.resources
        ]
        verdict = judge_together(stack, topology, _today())
        return pb.AnalyzeResponse(
            diagnostics=[
                *(_diagnostic(finding) for finding in verdict.findings if id(finding) not in told),
                *(
                    _advice(
                        f"exception {e.rule} for {e.resource}, until {e.expires}, by {e.owner}: {e.reason}"
                    )
                    for e in verdict.in_force
                ),
            ]
        )

    def GetAnalyzerInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Every rule with its obligation, severity, framework and remedy."""
        return pb.AnalyzerInfo(
            name=PACK,
            displayName="homelab-network",
            version=VERSION,
            supportsConfig=True,
            policies=map(_info, RULES.values()),
        )

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Return the pack's version."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Greet; nothing of it is needed."""
        return pb.AnalyzerHandshakeResponse()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Nothing runs long enough to be interrupted."""
        return Empty()

    def _site(self, urn: str, context: Any) -> Declared:
        """Return the declared topology; `pulumi policy analyze` tells none, so the stack's file counts."""
        if self._topology is None:
            stack, project = urn.split("::", maxsplit=1)[0].rpartition(":")[2], urn.split("::")[1]
            if project != PACK:
                text = f"{project}: is another project; preview it with the pack, where its configuration is."
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
            self._topology = _read(partial(from_file, PROJECT / f"Pulumi.{stack}.yaml"), context)
        return self._topology


def _read(source: Callable[[], Topology], context: Any) -> Declared:
    """Read the declared topology; the call ends with every fault when there are any."""
    try:
        return Declared.of(source())
    except ConfigError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"\n{error}")  # hosts set their own words before it
        raise


def _resource(shown: Any) -> Resource:
    """Decode a resource as both calls show it."""
    return decode(
        urn=shown.urn,
        type=shown.type,
        inputs=shown.properties,
        provider=shown.provider.urn if shown.HasField("provider") else "",
        protect=shown.options.protect,
    )


def _today() -> Any:
    return datetime.now(tz=UTC).date()


def _diagnostic(finding: Finding) -> Any:
    rule = RULES[finding.rule]
    return pb.AnalyzeDiagnostic(
        policyName=rule.name,
        policyPackName=PACK,
        policyPackVersion=VERSION,
        description=rule.description,
        message=f"{rule.description}\n{finding.message}",
        enforcementLevel=pb.MANDATORY,
        severity=_SEVERITY[rule.severity],
        urn=finding.urn,
    )


def _advice(text: str) -> Any:
    return pb.AnalyzeDiagnostic(
        policyName="exceptions-in-force",
        policyPackName=PACK,
        policyPackVersion=VERSION,
        description="An exception is in force.",
        message=text,
        enforcementLevel=pb.ADVISORY,
    )


def _info(rule: Rule) -> Any:
    return pb.PolicyInfo(
        name=rule.name,
        displayName=rule.name,
        description=rule.description,
        enforcementLevel=pb.MANDATORY,
        policy_type=pb.POLICY_TYPE_RESOURCE if rule.scope is Scope.RESOURCE else pb.POLICY_TYPE_STACK,
        severity=_SEVERITY[rule.severity],
        framework=pb.PolicyComplianceFramework(
            name=rule.framework.name,
            version=rule.framework.version,
            reference=rule.framework.reference,
            specification=rule.framework.specification,
        ),
        remediation_steps=rule.remediation,
    )


def start() -> tuple[Any, int]:
    """A running server for one deployment, and its port on loopback."""
    server = grpc.server(
        ThreadPoolExecutor(max_workers=1),
        options=[("grpc.max_receive_message_length", _MESSAGE), ("grpc.max_send_message_length", _MESSAGE)],
    )
    server.add_generic_rpc_handlers((_handlers(Analyzer()),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def _handlers(analyzer: Analyzer) -> Any:
    """Those methods of the protocol that the analyzer has; the generated code has a handler for each."""
    service = pb.DESCRIPTOR.services_by_name["Analyzer"]
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: grpc.unary_unary_rpc_method_handler(
                getattr(analyzer, method.name),
                request_deserializer=GetMessageClass(method.input_type).FromString,
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )
            for method in service.methods
            if hasattr(analyzer, method.name)
        },
    )


def serve() -> None:
    """Serve until the engine ends the process; the first line on stdout is the port, as it expects."""
    engine = os.getppid()
    server, port = start()
    print(port, flush=True)
    with suppress(KeyboardInterrupt):
        while server.wait_for_termination(timeout=_WATCH) and os.getppid() == engine:
            pass
    server.stop(0)
