"""The rules that prove a stack from its resources, and who asks them: an engine, a command, a test."""
