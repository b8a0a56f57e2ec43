"""The private authorities of the services that ask for certificates, and the certificates that they sign.

`topology.certificates` decides which files a container gets. Keys are resources: they are in the stack's
encrypted state, and in their holders' containers; an authority's own key is in no container. Resource names
are service.generation and service.holder.generation, which are unique because names contain no dots.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import pulumi
import pulumi_tls as tls

from topology.certificates import AUTHORITY_DAYS, IssuedCertificate, held
from topology.model import Topology

_DAY = 24


@dataclass(frozen=True, kw_only=True)
class AuthoritiesArgs:
    """The site; each service that asks for certificates gets an authority."""

    topology: Topology


class Authorities(pulumi.ComponentResource):
    """Authorities and certificates. `files` maps a service's name to its container's files, path to text."""

    def __init__(self, name: str, args: AuthoritiesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("homelab-network:components:Authorities", name, None, opts)
        topology, self._child = args.topology, pulumi.ResourceOptions(parent=self)
        given = topology.certificates
        self.files: dict[str, dict[str, pulumi.Input[str]]] = defaultdict(dict)
        for service, certificates in groupby(held(topology), key=attrgetter("service")):
            generations = {one: self._authority(f"{service}.{one}") for one in given.authorities}
            trusted = pulumi.Output.concat(*(authority.cert_pem for authority in generations.values()))
            for each in certificates:
                key, signed = self._signed(topology, each, generations[given.signer])
                self.files[each.holder] |= {
                    each.authorities: trusted,
                    each.certificate: signed.cert_pem,
                    each.key: key.private_key_pem,
                }
        self.register_outputs({})

    def _key(self, name: str) -> tls.PrivateKey:
        return tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve="P256", opts=self._child)

    def _authority(self, name: str) -> tls.SelfSignedCert:
        key = self._key(name)
        return tls.SelfSignedCert(
            name,
            private_key_pem=key.private_key_pem,
            subject=tls.SelfSignedCertSubjectArgs(common_name=f"authority {name}"),
            is_ca_certificate=True,
            set_subject_key_id=True,
            allowed_uses=["cert_signing"],
            validity_period_hours=AUTHORITY_DAYS * _DAY,
            opts=self._child,
        )

    def _signed(
        self, topology: Topology, each: IssuedCertificate, authority: tls.SelfSignedCert
    ) -> tuple[tls.PrivateKey, tls.LocallySignedCert]:
        """Return a new key and its signed certificate, for the service itself or for a client."""
        given, name = topology.certificates, f"{each.name}.{topology.certificates.signer}"
        key = self._key(name)
        holder = topology.physical(each.holder)
        request = tls.CertRequest(
            name,
            private_key_pem=key.private_key_pem,
            subject=tls.CertRequestSubjectArgs(common_name=holder),
            dns_names=[holder],
            opts=self._child,
        )
        use = "server_auth" if each.holder == each.service else "client_auth"
        return key, tls.LocallySignedCert(
            name,
            cert_request_pem=request.cert_request_pem,
            ca_private_key_pem=authority.private_key_pem,
            ca_cert_pem=authority.cert_pem,
            allowed_uses=["digital_signature", use],
            validity_period_hours=given.days * _DAY,
            early_renewal_hours=given.renew * _DAY,
            opts=self._child,
        )
