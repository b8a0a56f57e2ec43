"""Computes who can open a connection to whom from facts alone, without provider, network or clock."""
