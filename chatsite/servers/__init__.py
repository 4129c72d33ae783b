"""Additions to daphne and uvicorn that Django needs."""
