"""Reads a running Docker engine and a Proxmox API, and finds who can reach whom there today.

Nothing is changed, sent elsewhere or stored. No stack file is needed: the API's answers become the facts of
`reachability.facts`, and the engine that proves a declared stack evaluates them.

Note: environment values are dropped while an answer is decoded, so no value of this package can hold one.
"""
