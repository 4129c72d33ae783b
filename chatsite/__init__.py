"""The project around the chat: settings, servers, middleware and logs."""
