"""Models of the Hugging Face hub: ready ones, packages, GGUF files, checkpoints.

Knows what a repository's files say of what it holds. Must not know how they are fetched: the hub's own library does
that, into its own cache, where nothing is fetched twice, and by the rules of lilims.conversion (no network unless a
model of the hub is named, LILIMS_OFFLINE, HF_HUB_OFFLINE).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lilims.core.errors import IntegrityError, ModelNotFoundError, UsageError
from lilims.core.files import scratch_directory
from lilims.core.manifest import FILE_NAME, check_relative

from ..gc import make_room
from ..pulling import Item, Pulled, Wishes, convert_checkpoint
from ..space import check_model, downloads_dir
from .local import install_folder, pull_local
from .names import HubSource

__all__ = ["Choice", "choose", "pull_hub"]

_SPLIT = re.compile(r"(.*)-\d{5}-of-(\d{5})\.gguf")


@dataclass(frozen=True)
class Choice:
    """What of a repository is fetched, and what it is: a model, a package, a GGUF file or a checkpoint."""

    kind: str
    files: tuple[str, ...] = ()
    path: str = ""


def choose(names: Sequence[str], file: str | None, where: str) -> Choice:
    """What a repository offers, by the names of its files.

    Raises:
        ModelNotFoundError: nothing that lilims reads, or not the file that was named.
        UsageError: several things, and none was named.
    """
    packages = sorted({f"{name.split('.mlpackage/')[0]}.mlpackage" for name in names if ".mlpackage/" in name})
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    if file is not None:
        return _named(names, file, where, packages)
    if FILE_NAME in names and packages:
        return Choice("model", tuple(name for name in names if not name.startswith(".")))
    if len(packages) == 1:
        return Choice("package", tuple(name for name in names if name.startswith(f"{packages[0]}/")), packages[0])
    if packages:
        raise UsageError("the repository has several packages", where=where, hint=_several(where, packages))
    if "config.json" in names and any(name.endswith((".safetensors", ".bin")) for name in names):
        return Choice("checkpoint")
    firsts = [name for name in ggufs if not _SPLIT.fullmatch(name) or "-00001-of-" in name]
    if len(firsts) == 1:
        return _named(names, firsts[0], where, packages)
    if firsts:
        raise UsageError("the repository has several GGUF files", where=where, hint=_several(where, firsts))
    raise ModelNotFoundError(
        "the repository has no model that lilims reads", where=where,
        hint="a model folder, an .mlpackage, a .gguf, or config.json with safetensors",
    )  # fmt: skip


def _named(names: Sequence[str], file: str, where: str, packages: Sequence[str]) -> Choice:
    if file in packages:
        return Choice("package", tuple(name for name in names if name.startswith(f"{file}/")), file)
    if file in names and file.endswith(".gguf"):
        split = _SPLIT.fullmatch(file)
        parts = [file] if split is None else [n for n in names if (m := _SPLIT.fullmatch(n)) and m[1] == split[1]]
        return Choice("gguf", tuple(sorted(parts)), file)
    offered = [*packages, *(name for name in names if name.endswith(".gguf"))]
    raise ModelNotFoundError(
        f"the repository has no package and no GGUF file {file!r}", where=where,
        hint=f"it has {', '.join(offered[:8])}" if offered else "it has none at all",
    )  # fmt: skip


def _several(where: str, names: Sequence[str]) -> str:
    return f"name one, such as {where.partition('@')[0]}/{names[0]}; there are {', '.join(names[:8])}"


def pull_hub(source: HubSource, wishes: Wishes) -> Pulled:
    """Installs a model of the hub.

    Raises:
        LilimsError: as `pull`.
    """
    from lilims.conversion.sources.hub import hub_errors, open_hub

    library, online = open_hub()
    where = str(source)
    default_name = source.repo.split("/")[1]
    address = f"hf://{source.repo}" + (f"@{source.revision}" if source.revision else "")
    if not online:
        if source.file is None:
            return convert_checkpoint(address, wishes, where, default_name)  # from the cache, or it says so
        raise ModelNotFoundError(
            "the network is switched off", where=where, hint="unset LILIMS_OFFLINE, HF_HUB_OFFLINE"
        )
    with hub_errors(source.repo, where):
        info = library.HfApi().model_info(source.repo, revision=source.revision, files_metadata=True)
    sizes = {sibling.rfilename: int(sibling.size or 0) for sibling in info.siblings or [] if _inside(sibling.rfilename)}
    choice = choose(list(sizes), source.file, where)
    if choice.kind == "checkpoint":
        return convert_checkpoint(address, wishes, where, default_name)
    total = sum(sizes[name] for name in choice.files)
    if choice.kind != "gguf":
        check_model(total, where=where)
    if wishes.dry_run:
        action = {"model": "download", "package": "import", "gguf": "convert"}[choice.kind]
        kept = [library.try_to_load_from_cache(source.repo, name, revision=info.sha) for name in choice.files]
        there = [sizes[name] if isinstance(path, str) else 0 for name, path in zip(choice.files, kept, strict=True)]
        return Pulled(action, where, None, total, tuple(map(Item, choice.files, map(sizes.get, choice.files), there)))
    make_room(0 if choice.kind == "gguf" else total)
    with hub_errors(source.repo, where):
        folder = Path(
            library.snapshot_download(
                source.repo, revision=info.sha, allow_patterns=[_literal(n) for n in choice.files]
            )
        )
    if choice.kind == "gguf":
        name = _SPLIT.sub(r"\1", Path(choice.path).name).removesuffix(".gguf")
        return convert_checkpoint(folder / choice.path, wishes, where, name)
    with scratch_directory(downloads_dir(), "hub") as scratch:
        _copy(folder, scratch, choice.files)
        if choice.kind == "model":
            return install_folder(scratch, wishes, where, move=True)
        return pull_local(scratch / choice.path, wishes)


def _inside(name: str) -> bool:
    try:
        check_relative(name)
    except ValueError:
        return False
    return True


def _literal(name: str) -> str:
    """A name as a pattern that means it alone."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _copy(snapshot: Path, target: Path, names: Sequence[str]) -> None:
    """The files of a snapshot, which are links into the cache, as files."""
    import shutil

    cache = snapshot.parents[1].resolve()
    for name in names:
        real = (snapshot / name).resolve()
        if not real.is_relative_to(cache):
            raise IntegrityError("leads out of the hub's cache", where=snapshot / name)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(real, target / name)
