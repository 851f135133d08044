"""The command `lilims telemetry`."""
