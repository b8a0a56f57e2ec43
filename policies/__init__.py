"""The policy rules that prove a stack from its resources, and the engine server that runs them."""
