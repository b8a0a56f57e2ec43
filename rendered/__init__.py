"""Configuration texts and container runtimes, derived from the topology by pure functions."""
