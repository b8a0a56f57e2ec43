"""Serves the rules over Pulumi's analyzer protocol.

The engine starts this process for `--policy-pack policies/serve`, and a language host does for
`--policy-pack policies`. The SDK's `PolicyPack` is not used: it decodes the whole stack once per rule,
passes unknown values with an advisory, and accepts misspelt rule names in its configuration.

Note: the engine hands a resource's inputs to `Analyze` and its outputs to `AnalyzeStack`. In a preview the
outputs of new resources are unknown, so the stack is evaluated by the inputs seen before; outputs count only
for resources that were never analyzed, for example ones that are merely read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn

import grpc  # type: ignore[import-untyped]
from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
from google.protobuf.message_factory import GetMessageClass  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2 as pb
from pulumi.runtime.proto import plugin_pb2

from policies.evaluate import EvaluatedResource, conclude, evaluate_resource, evaluate_together
from policies.other_project import OtherProject, SiteError
from policies.rule import RULES, Finding, Rule, RuleScope
from resources.resource import Resource, decode
from topology.config import ConfigError, from_file, from_pulumi_json
from topology.index import TopologyIndex
from topology.model import Topology
from topology.project import NAME, PROJECT

PACK: Final = NAME
VERSION: Final = "0.1.0"
_MESSAGE: Final = 400 * 1024 * 1024
"""Maximum bytes of a message, as in the SDK; all of a stack's resources come in one message."""
_WATCH: Final = 5
"""Seconds between checks that the parent process still runs: a killed engine does not end its children."""
_SEVERITY: Final = {
    "medium": pb.POLICY_SEVERITY_MEDIUM,
    "high": pb.POLICY_SEVERITY_HIGH,
    "critical": pb.POLICY_SEVERITY_CRITICAL,
}


class Analyzer:
    """The evaluation of one deployment; it remembers every resource that the engine has shown.

    Public methods are those of the protocol. A missing method, such as `Remediate`, means nothing to do to
    the engine and saves the call, which takes most of the time per resource.
    """

    def __init__(self) -> None:
        self._topology: TopologyIndex | None = None
        self._other: OtherProject | None = None
        self._seen: dict[str, EvaluatedResource] = {}

    def ConfigureStack(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Read the declared topology from the stack's configuration; an unnamed stack has none."""
        if not request.stack:
            return pb.AnalyzerStackConfigureResponse()
        if request.project not in {"", PACK}:
            self._other = OtherProject(request.project, dict(request.config))
            return pb.AnalyzerStackConfigureResponse()
        read = partial(from_pulumi_json, dict(request.config), tuple(request.config_secret_keys))
        self._topology = _read(read, context)
        return pb.AnalyzerStackConfigureResponse()

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Reject configuration that would change a rule, or that names an unknown rule."""
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
        """Evaluate one resource by its inputs, before it is created."""
        if self._other:
            return pb.AnalyzeResponse(diagnostics=map(_diagnostic, self._other.one(_resource(request))))
        topology = self._site(request.urn, context)
        judged = self._seen[request.urn] = evaluate_resource(_resource(request), topology)
        kept = conclude(judged.findings, topology, _today(), rules={}).findings
        return pb.AnalyzeResponse(diagnostics=map(_diagnostic, kept))

    def AnalyzeStack(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Evaluate the stack, including resources that `Analyze` has not seen."""
        if not request.resources:
            return pb.AnalyzeResponse()
        if self._other:
            return _of_another(self._other, map(_resource, request.resources), context)
        topology = self._site(request.resources[0].urn, context)
        told = {id(finding) for judged in self._seen.values() for finding in judged.findings}
        stack = [
            self._seen.get(shown.urn) or evaluate_resource(_resource(shown), topology)
            for shown in request.resources
        ]
        verdict = evaluate_together(stack, topology, _today())
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
        """Return every rule with its obligation, severity, framework and remedy."""
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
        """Answer the handshake; its content is not needed."""
        return pb.AnalyzerHandshakeResponse()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Return at once; no call runs long enough to be cancelled."""
        return Empty()

    def _site(self, urn: str, context: Any) -> TopologyIndex:
        """Return the declared topology; `pulumi policy analyze` sends none, so read the stack's file then."""
        if self._topology is None:
            stack, project = urn.split("::", maxsplit=1)[0].rpartition(":")[2], urn.split("::")[1]
            if project != PACK:
                text = f"{project}: is another project; preview it with the pack, where its configuration is."
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
            self._topology = _read(partial(from_file, PROJECT / f"Pulumi.{stack}.yaml"), context)
        return self._topology


def _of_another(other: OtherProject, resources: Iterable[Resource], context: Any) -> Any:
    """Return the verdict on another project's stack; abort the call if no site says what its slots are."""
    try:
        stack, findings = other.together(resources, _today())
    except SiteError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"\n{error}.")
        raise
    told = _advice(f"judged by the slots that {stack} hands over", "slots-of")
    return pb.AnalyzeResponse(diagnostics=[*map(_diagnostic, findings), told])


def _read(source: Callable[[], Topology], context: Any) -> TopologyIndex:
    """Read the declared topology; on errors abort the call with all of them."""
    try:
        return TopologyIndex.of(source())
    except ConfigError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"\n{error}")  # hosts print their own text before it
        raise


def _resource(shown: Any) -> Resource:
    """Decode a resource from either call."""
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
        description=rule.obligation,
        message=f"{rule.obligation}\n{finding.message}",
        enforcementLevel=pb.MANDATORY,
        severity=_SEVERITY[rule.severity],
        urn=finding.urn,
    )


def _advice(text: str, name: str = "exceptions-in-force") -> Any:
    return pb.AnalyzeDiagnostic(
        policyName=name,
        policyPackName=PACK,
        policyPackVersion=VERSION,
        description="What the verdict rests on.",
        message=text,
        enforcementLevel=pb.ADVISORY,
    )


def _info(rule: Rule) -> Any:
    return pb.PolicyInfo(
        name=rule.name,
        displayName=rule.name,
        description=rule.obligation,
        enforcementLevel=pb.MANDATORY,
        policy_type=pb.POLICY_TYPE_RESOURCE if rule.scope is RuleScope.RESOURCE else pb.POLICY_TYPE_STACK,
        severity=_SEVERITY[rule.severity],
        framework=pb.PolicyComplianceFramework(
            name=rule.framework.name,
            version=rule.framework.version,
            reference=rule.framework.reference,
            specification=rule.framework.specification,
        ),
        remediation_steps=rule.remedy,
    )


def start() -> tuple[Any, int]:
    """Return a running server for one deployment, and its port on loopback."""
    server = grpc.server(
        ThreadPoolExecutor(max_workers=1),
        options=[("grpc.max_receive_message_length", _MESSAGE), ("grpc.max_send_message_length", _MESSAGE)],
    )
    server.add_generic_rpc_handlers((_handlers(Analyzer()),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def _handlers(analyzer: Analyzer) -> Any:
    """Return handlers for the protocol methods that the analyzer has; generated code registers all."""
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


def serve() -> NoReturn:
    """Print the port as the first line, as the engine expects, and serve until the engine ends or interrupts.

    Never returns: the engine waits for the process, and nothing here needs an orderly end.
    """
    engine = os.getppid()
    with suppress(KeyboardInterrupt):
        server, port = start()
        print(port, flush=True)
        while server.wait_for_termination(timeout=_WATCH) and os.getppid() == engine:
            pass
    os._exit(0)  # else the end of gRPC and of the interpreter takes half as long as the start
