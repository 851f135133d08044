"""`lilims bench` and its subcommands."""
