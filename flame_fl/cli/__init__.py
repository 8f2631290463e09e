"""The `flame` command: prints and asks, never decides."""
