"""Where models come from: a path, a server, the hub, a registry. Each brings a model into the store."""
