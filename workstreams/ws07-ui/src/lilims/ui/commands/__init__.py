"""Commands of chat and server."""
