"""Pulumi's engine, Python host and plugins: what is installed, else what is published, else what can be made.

Owns the three ways to each piece. It installs nothing outside the cache and never writes to the user's own
Pulumi home, so a plugin made here, or the stand-in for one, is seen only where `environment` applies. Whoever
has Pulumi and the plugins in the versions of requirements.txt needs none of this folder.
"""

from lab.toolchain.chain import Choice, Piece, Toolchain, ensure, environment

__all__ = ["Choice", "Piece", "Toolchain", "ensure", "environment"]
