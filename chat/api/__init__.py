"""The HTTP API and the WebSocket, for programs. docs/events.md describes both."""
