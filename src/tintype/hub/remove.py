"""Removing what was pulled, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from tintype.checkpoints.weights import CACHE
from tintype.errors import PullFailed
from tintype.hub.files import writing
from tintype.hub.manifest import Pulled
from tintype.hub.pull import folder_of


def remove(slug: str, repositories: Collection[str], pulled: Pulled) -> int:
    """Forget a slug's weights and remove its repositories' files that no other slug uses; the bytes that are free now.

    What a broken pull left goes too. Files that were registered where they were stay. Raises PullFailed, also when
    there is nothing to remove.
    """
    with writing(pulled.folder):
        manifest = pulled.of(slug)
        own = {part.repository for part in manifest.parts if part.ours} if manifest else set()
        every = (pulled.folder / folder_of(name) for name in sorted(own | set(repositories)))
        folders = [folder for folder in every if folder.exists()]
        if manifest:
            # First: what is half removed must not be served.
            pulled.forget(manifest)
        elif not folders:
            raise PullFailed(f"nothing of {slug} was pulled")
        return sum(_sweep(folder, _used(pulled), pulled.folder) for folder in folders)


def _used(pulled: Pulled) -> set[Path]:
    """The files that manifests list."""
    return {pulled.place(part) / file.path for one in pulled.all() for part in one.parts for file in part.files}


def _sweep(folder: Path, used: Collection[Path], root: Path) -> int:
    """Remove what is below a folder, but for these files and what was converted from them."""
    freed = 0
    for path in _deepest_first(folder):
        if path.parent.resolve() != root.resolve() / path.parent.relative_to(root):
            raise PullFailed(f"{path} leads out of {root}, where pulled weights are: nothing is removed there")
        if path.is_symlink() or path.is_file():
            if not _kept(path, used):
                freed += path.lstat().st_size
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()
    return freed


def _kept(path: Path, used: Collection[Path]) -> bool:
    if CACHE not in path.parts:
        return path in used
    origin = Path(*path.parts[: path.parts.index(CACHE)])
    return any(file.is_relative_to(origin) for file in used)


def _deepest_first(folder: Path) -> Iterable[Path]:
    """A folder and what is below it, which symbolic links don't lead to."""
    return sorted([folder, *folder.rglob("*")], key=lambda path: len(path.parts), reverse=True)
