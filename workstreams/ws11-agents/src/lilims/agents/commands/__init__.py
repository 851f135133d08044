"""The command `lilims tasks`; each subcommand is imported when it is called."""
