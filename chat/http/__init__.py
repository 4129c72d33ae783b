"""Requests and refusals, as every entry point reads and writes them."""
