"""The declared site as plain values: what it contains and which flows it permits. Imports no provider."""
