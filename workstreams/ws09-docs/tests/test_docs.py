"""The package's public names, and that importing it is cheap."""

from __future__ import annotations

import subprocess
import sys

import lilims.docs as package


def test_every_exported_name_is_there() -> None:
    assert package.__all__ == sorted(package._HOMES)
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(package, "nothing")


def test_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import lilims.docs, lilims.docs.commands.docs; "
        "print([n for n in set(sys.modules) - before if n.split('.')[0] in ('sphinx', 'markdown_it', 'rich', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
