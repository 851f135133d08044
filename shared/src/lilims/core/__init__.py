"""lilims-core: what every workstream shares. Import from its modules: errors, files, manifest, settings, paths, …"""

__all__ = ["version"]


def version() -> str:
    """The version of lilims: of the installed distribution, or of the source tree that this file lies in."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("lilims-core")
    except PackageNotFoundError:
        import tomllib
        from pathlib import Path

        project = Path(__file__).resolve().parents[3] / "pyproject.toml"
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
