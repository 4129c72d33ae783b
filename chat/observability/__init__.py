"""Observability: metrics, traces, and the log lines that need a person."""
