"""Pulling a slug's weights: fetched, verified, then recorded in its manifest; registering local ones; removing them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tintype.catalog.modelfile import Entries
from tintype.checkpoints.weights import CACHE, list_files
from tintype.errors import PullFailed
from tintype.hub.download import bytes_on_disk, download
from tintype.hub.folder import File, Manifest, ModelsFolder, OnBytes, Snapshot, is_intact, update_digest
from tintype.hub.plan import SnapshotSpec, pull_plan
from tintype.hub.remote import Hub


@dataclass(frozen=True)
class PullProgress:
    """Callbacks for a progress bar."""

    #: The total number of bytes, and how many of them are on disk already.
    start: Callable[[int, int], None]
    #: The path of the next file.
    file: Callable[[str], None]
    advance: OnBytes


def pull(
    slug: str,
    entries: Entries,
    models: ModelsFolder,
    hub: Hub,
    progress: PullProgress,
    *,
    update: bool = False,
    verify: bool = False,
) -> Manifest:
    """Fetch what a slug needs and isn't on disk; raises PullFailed, after which the next pull resumes.

    A branch stays at the commit of the slug's first pull, unless `update` is set. Without a difference, the hub is not
    contacted; `verify` reads all files first, and fetches those again that differ.
    """
    specs = pull_plan(slug, entries)
    with models.locked():
        known = models.manifest(slug)
        if known and verify:
            _discard(damaged_files(known, models, progress))
        if known and not update and _matches(known, specs) and not models.damage(known):
            return known
        snapshots = tuple(_resolve(spec, hub, None if update else known) for spec in specs)
        _fetch(snapshots, models, hub, progress)
        manifest = Manifest(slug, snapshots, specs[0].file)
        models.write(manifest)
    return manifest


def register(slug: str, path: Path, models: ModelsFolder, progress: PullProgress) -> Manifest:
    """Record local weights with their checksums; they stay where they are.

    Raises PullFailed for anything but a folder in the diffusers layout or a safetensors file.
    """
    if path.is_dir() and not (path / "model_index.json").is_file():
        raise PullFailed(f"{path}: there is no model_index.json in it; allowed: such a folder, or a file")
    if not path.is_dir() and path.suffix != ".safetensors":
        raise PullFailed(f"{path}: a file must be .safetensors; pickled weights can run code when loaded: refused")
    folder, file = (path, "") if path.is_dir() else (path.parent, path.name)
    paths = list_files(path)
    progress.start(sum(one.stat().st_size for one in paths), 0)
    files = tuple(_describe(one, folder, progress) for one in paths)
    with models.locked():
        known = models.manifest(slug)
        others = known.snapshots[1:] if known else ()
        weights = Snapshot("", "", "", files, str(folder.absolute()), "file" if file else "folder")
        manifest = Manifest(slug, (weights, *others), file)
        models.write(manifest)
    return manifest


def damaged_files(manifest: Manifest, models: ModelsFolder, progress: PullProgress) -> list[tuple[Snapshot, Path]]:
    """The files of a slug that are missing or differ from what was pulled; reads all of them."""
    progress.start(sum(snapshot.size for snapshot in manifest.snapshots), 0)
    found = []
    for snapshot in manifest.snapshots:
        for file in snapshot.files:
            progress.file(file.path)
            path = models.folder_of(snapshot) / file.path
            if not is_intact(file, path, progress.advance):
                found.append((snapshot, path))
    return found


def remove(slug: str, repositories: Collection[str], models: ModelsFolder) -> int:
    """Remove a slug's manifest and its repositories' files that no other slug uses; returns the freed bytes.

    Leftovers of an interrupted pull are removed too; registered files stay. Raises PullFailed, also when there is
    nothing to remove.
    """
    with models.locked():
        manifest, folders = removable(slug, repositories, models)
        if manifest:
            models.delete(manifest)  # first: incomplete weights must not be served
        return sum(_remove_unused(folder, _used_files(models), models.path) for folder in folders)


def removable(slug: str, repositories: Collection[str], models: ModelsFolder) -> tuple[Manifest | None, list[Path]]:
    """A slug's manifest and the folders of its repositories that are here; raises PullFailed if there is neither."""
    manifest = models.manifest(slug)
    own = {snapshot.repository for snapshot in manifest.snapshots if snapshot.is_pulled} if manifest else set()
    candidates = (models.path / repository_folder(name) for name in sorted(own | set(repositories)))
    folders = [folder for folder in candidates if folder.exists()]
    if not manifest and not folders:
        raise PullFailed(f"nothing was pulled for {slug}: there is nothing to remove")
    return manifest, folders


def repository_folder(repository: str) -> str:
    """The folder of a repository, below the models folder."""
    return repository.replace("/", "--")


def _discard(files: list[tuple[Snapshot, Path]]) -> None:
    for snapshot, path in files:
        if snapshot.is_pulled:
            path.unlink(missing_ok=True)


def _matches(known: Manifest, specs: Sequence[SnapshotSpec]) -> bool:
    """Whether a manifest has the very snapshots of a plan."""
    have = [(one.repository, one.revision, one.kind, one.without) for one in known.snapshots]
    need = [(one.repository, one.revision, one.kind, one.without) for one in specs]
    return have == need and known.file == specs[0].file


def _resolve(spec: SnapshotSpec, hub: Hub, known: Manifest | None) -> Snapshot:
    """A snapshot with its files, at the revision's commit, or at the one of the first pull."""
    before = known.snapshots if known else ()
    pinned = (one.commit for one in before if (one.repository, one.revision) == (spec.repository, spec.revision))
    listing = hub.listing(spec.repository, next(pinned, spec.revision))
    folder = f"{repository_folder(spec.repository)}/{listing.commit}"
    files = spec.select(listing.files)
    return Snapshot(spec.repository, spec.revision, listing.commit, files, folder, spec.kind, spec.without)


def _fetch(snapshots: Sequence[Snapshot], models: ModelsFolder, hub: Hub, progress: PullProgress) -> None:
    files = [(one, file, models.folder_of(one) / file.path) for one in snapshots for file in one.files]
    for _, file, path in files:
        if path.is_file() and path.stat().st_size != file.size:
            path.unlink()
    present = sum(bytes_on_disk(file, path) for _, file, path in files)
    total = sum(snapshot.size for snapshot in snapshots)
    models.require_space(total - present)
    progress.start(total, present)
    # The smallest first: a refusal comes before anything large is fetched.
    for snapshot, file, path in sorted(files, key=lambda one: one[1].size):
        progress.file(file.path)
        if not path.is_file():
            download(hub, snapshot.repository, snapshot.commit, file, path, progress.advance)


def _describe(path: Path, folder: Path, progress: PullProgress) -> File:
    progress.file(path.name)
    digest = hashlib.sha256()
    update_digest(digest, path, progress.advance)
    return File(path.relative_to(folder).as_posix(), path.stat().st_size, f"sha256:{digest.hexdigest()}")


def _used_files(models: ModelsFolder) -> set[Path]:
    """The files of all manifests."""
    snapshots = (snapshot for manifest in models.manifests() for snapshot in manifest.snapshots)
    return {models.folder_of(snapshot) / file.path for snapshot in snapshots for file in snapshot.files}


def _remove_unused(folder: Path, used: Collection[Path], root: Path) -> int:
    """Remove everything below a folder but these files and their converted copies; returns the freed bytes."""
    freed = 0
    for path in _deepest_first(folder):
        if path.parent.resolve() != root.resolve() / path.parent.relative_to(root):
            raise PullFailed(f"{path} leads out of {root}, the models folder: nothing is removed there")
        if path.is_symlink() or path.is_file():
            if not _is_used(path, used):
                freed += path.lstat().st_size
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()
    return freed


def _is_used(path: Path, used: Collection[Path]) -> bool:
    """Whether it is one of these files, or a converted copy of one."""
    if CACHE not in path.parts:
        return path in used
    origin = Path(*path.parts[: path.parts.index(CACHE)])
    return any(file.is_relative_to(origin) for file in used)


def _deepest_first(folder: Path) -> Iterable[Path]:
    """A folder and everything below it; symbolic links are not followed."""
    return sorted([folder, *folder.rglob("*")], key=lambda path: len(path.parts), reverse=True)
