"""Loads the topology from the stack's configuration; no other module reads what the program builds."""

import os
import re
from typing import Final

import pulumi
from pulumi.runtime import config

from topology import env_files
from topology.config import ConfigError, from_pulumi_json
from topology.index import TopologyIndex

_REMOTE: Final = re.compile(r"ssh:|(tcp|https?)://(?!(localhost|127\.[0-9.]+|\[::1\])([:/]|$))")
"""Another machine's engine in DOCKER_HOST, which Docker's plugin takes, and the policy pack does not see."""


def topology() -> TopologyIndex:
    """Return the declared site; raises RunError with every fault, so an operator sees no traceback."""
    given = {**config.get_config_env(), **config.CONFIG.get()}
    try:
        site = TopologyIndex.of(from_pulumi_json(given, config.get_config_secret_keys_env()))
    except ConfigError as error:
        raise pulumi.RunError(str(error)) from None
    by_engine = "PULUMI_CONFIG_SECRET_KEYS" in os.environ
    missing = [key for key in site.secrets if not given.get(key)]
    lines = [f"{key}: is missing; set it with `pulumi config set --secret {key}`." for key in missing]
    held = {key for container in site.containers for key in container.secret_keys} & given.keys()
    if by_engine:  # it tells which keys are encrypted
        clear = sorted(held - {*config.get_config_secret_keys_env()})
        lines += [f"{key}: is in clear; set it with `pulumi config set --secret {key}`." for key in clear]
    if lines := [*lines, *env_files.faults(site.services)]:
        raise pulumi.RunError("\n".join(lines))
    docker, engine = site.docker_host, pulumi.Config("docker").get("host") or ""
    changes = by_engine and not pulumi.runtime.is_dry_run()
    variable = os.environ.get("DOCKER_HOST", "") if changes and not engine else ""
    if docker and not docker.ssh and (engine.startswith("ssh:") or _REMOTE.match(variable)):
        raise pulumi.RunError(
            f"hosts.{docker.name}.ssh: is missing, while {'DOCKER_HOST' if variable else 'docker:host'} is "
            "another machine; its firewall rules would land on this one: name its address and host-key"
            f"{', or unset DOCKER_HOST' if variable else ''}."
        )
    return site
