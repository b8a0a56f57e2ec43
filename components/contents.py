"""Resolves the content of a container's file from the source that its runtime names."""

import pulumi

from rendered.runtime import PemFile, StackSecret, Text
from topology import certificates


def content(text: Text) -> pulumi.Input[str]:
    """Return the text; raises RunError naming the configuration key of an unreadable PEM file."""
    if isinstance(text, StackSecret):
        return pulumi.Config(text.namespace).require_secret(text.key)
    if isinstance(text, PemFile):
        found = _read_pem(text)
        return pulumi.Output.secret(found) if text.secret else found
    return text


def _read_pem(file: PemFile) -> str:
    try:
        return certificates.read_pem(file.key, file.path)
    except certificates.PemError as error:
        raise pulumi.RunError(f"{error}.") from None
