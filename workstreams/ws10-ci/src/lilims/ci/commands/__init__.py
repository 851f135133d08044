"""The subcommands of `lilims ci`, and the group that finds them."""
