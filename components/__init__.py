"""Component resources: one class and its Args a module, from the topology to resources, without checks."""
