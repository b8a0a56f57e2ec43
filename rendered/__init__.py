"""Texts and runtimes that follow from the topology, as pure functions."""
