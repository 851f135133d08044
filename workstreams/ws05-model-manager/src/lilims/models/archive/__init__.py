"""Models as one file: read from anybody, written the same on every machine."""
