"""Schemathesis against a running site, for `make fuzz`."""
