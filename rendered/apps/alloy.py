"""Alloy, Promtail's successor, with the same log files, labels and client certificate.

Note: Alloy's data is outside the image's `/var/lib/alloy`, which belongs to another user, so root without
capabilities can't enter it. The data is in Promtail's volume, so Alloy continues where Promtail stopped.
"""

import json

from rendered.runtime import Runtime, bash_health
from topology.certificates import IssuedCertificate
from topology.model import Container, Topology

_PORT = 12345
_DATA = "/var/lib/positions"
_LOGS = "/var/lib/docker/containers"
_CONFIG = """\
logging {
  level = "warn"
}

loki.source.file "containers" {
  targets               = [{__path__ = %(files)s, job = "containers"}]
  legacy_positions_file = %(positions)s
  forward_to            = [loki.process.containers.receiver]

  file_match {
    enabled = true
  }
}

loki.process "containers" {
  forward_to = [loki.write.destination.receiver]

  stage.json {
    expressions = {container = "attrs.tag"}
  }

  stage.labels {
    values = {container = ""}
  }

  stage.docker {}

  stage.label_drop {
    values = ["filename"]
  }
}

loki.write "destination" {
  endpoint {
    url = %(url)s

    tls_config {
      ca_file     = %(ca_file)s
      cert_file   = %(cert_file)s
      key_file    = %(key_file)s
      server_name = %(server_name)s
      min_version = "TLS13"
    }
  }
}
"""


def alloy(topology: Topology, service: Container) -> Runtime:
    """Return a runtime that pushes the engine's log files, labelled by container; it listens on loopback."""
    flow = topology.flows_from(service.name)[0]
    told = {
        "files": f"{_LOGS}/*/*-json.log",
        "positions": f"{_DATA}/positions.yaml",
        "url": f"https://{topology.target(flow)}/loki/api/v1/push",
        **IssuedCertificate(service.name, flow.destination).client(topology),
    }
    return Runtime(
        command=(
            "run",
            "/etc/alloy/config.alloy",
            f"--storage.path={_DATA}",
            f"--server.http.listen-addr=127.0.0.1:{_PORT}",
            "--disable-reporting",
        ),
        files={"/etc/alloy/config.alloy": _CONFIG % {key: json.dumps(text) for key, text in told.items()}},
        data={_DATA: "positions"},
        host_paths={_LOGS: f"{topology.docker.data_root}/containers"},
        user="0:0",
        health=bash_health(_PORT, "/-/ready"),
    )
