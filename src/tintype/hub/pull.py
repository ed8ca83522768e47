"""A pull: what a slug needs, fetched, verified, and only then written down in its manifest; and its removal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tintype.catalog.modelfile import Entries
from tintype.checkpoints.weights import CACHE, files_in
from tintype.errors import PullFailed
from tintype.hub.download import arrived, download
from tintype.hub.folder import File, Manifest, Part, Progress, Pulled, is_whole, require_room, take_in, writing
from tintype.hub.plan import Wanted, wanted
from tintype.hub.remote import Hub


@dataclass(frozen=True)
class Bars:
    """Who is told how far a pull is."""

    #: Bytes that are needed in all, and those of them that are there already.
    start: Callable[[int, int], None]
    #: The path of the file that comes next.
    file: Callable[[str], None]
    advance: Progress


def pull(
    slug: str, entries: Entries, pulled: Pulled, hub: Hub, bars: Bars, *, update: bool = False, verify: bool = False
) -> Manifest:
    """Fetch what a slug needs and isn't there; raises PullFailed, after which the next pull goes on from there.

    A branch is what it was at the slug's first pull, unless `update` is set. What is there already isn't asked for,
    but with `verify` it is read first, and fetched again where it is not what was pulled.
    """
    wants = wanted(slug, entries)
    with writing(pulled.folder):
        known = pulled.of(slug)
        if known and verify:
            _discard(damaged(known, pulled, bars))
        if known and not update and _satisfies(known, wants) and not pulled.damage(known):
            return known
        parts = tuple(_list(want, hub, None if update else known) for want in wants)
        _fetch(parts, pulled, hub, bars)
        manifest = Manifest(slug, parts, wants[0].file)
        pulled.write(manifest)
    return manifest


def register(slug: str, path: Path, pulled: Pulled, bars: Bars) -> Manifest:
    """Write down weights that are on this machine already, with their checksums; they stay where they are.

    Raises PullFailed for what is neither a folder in the diffusers layout nor a safetensors file.
    """
    if path.is_dir() and not (path / "model_index.json").is_file():
        raise PullFailed(f"{path}: there is no model_index.json in it; allowed: such a folder, or a file")
    if not path.is_dir() and path.suffix != ".safetensors":
        raise PullFailed(f"{path}: a file must be .safetensors; pickled weights can run code when loaded: refused")
    folder, file = (path, "") if path.is_dir() else (path.parent, path.name)
    files = files_in(path)
    bars.start(sum(one.stat().st_size for one in files), 0)
    noted = tuple(_note(one, folder, bars) for one in files)
    with writing(pulled.folder):
        known = pulled.of(slug)
        loras = known.parts[1:] if known else ()
        here = Part("", "", "", noted, str(folder.absolute()), "file" if file else "folder")
        manifest = Manifest(slug, (here, *loras), file)
        pulled.write(manifest)
    return manifest


def damaged(manifest: Manifest, pulled: Pulled, bars: Bars) -> list[tuple[Part, Path]]:
    """The files of a slug that are gone, or aren't what was pulled; reads all of them."""
    bars.start(sum(part.size for part in manifest.parts), 0)
    found = []
    for part in manifest.parts:
        for file in part.files:
            bars.file(file.path)
            path = pulled.place(part) / file.path
            if not is_whole(file, path, bars.advance):
                found.append((part, path))
    return found


def folder_of(repository: str) -> str:
    """The folder of a repository, below that of all pulled weights."""
    return repository.replace("/", "--")


def _discard(found: list[tuple[Part, Path]]) -> None:
    for part, path in found:
        if part.ours:
            path.unlink(missing_ok=True)


def _satisfies(known: Manifest, wants: Sequence[Wanted]) -> bool:
    """Whether a manifest is of the very repositories that are wanted now."""
    have = [(part.repository, part.revision, part.kind, part.without) for part in known.parts]
    need = [(want.repository, want.revision, want.kind, want.without) for want in wants]
    return have == need and known.file == wants[0].file


def _list(want: Wanted, hub: Hub, known: Manifest | None) -> Part:
    """The files of a repository that are wanted, at the commit that it has, or had at the first pull."""
    parts = known.parts if known else ()
    pinned = (part.commit for part in parts if (part.repository, part.revision) == (want.repository, want.revision))
    listing = hub.listing(want.repository, next(pinned, want.revision))
    folder = f"{folder_of(want.repository)}/{listing.commit}"
    return Part(
        want.repository, want.revision, listing.commit, want.choose(listing.files), folder, want.kind, want.without
    )


def _fetch(parts: Sequence[Part], pulled: Pulled, hub: Hub, bars: Bars) -> None:
    every = [(part, file, pulled.place(part) / file.path) for part in parts for file in part.files]
    for _, file, path in every:
        if path.is_file() and path.stat().st_size != file.size:
            path.unlink()
    there = sum(arrived(file, path) for _, file, path in every)
    needed = sum(part.size for part in parts)
    require_room(pulled.folder, needed - there)
    bars.start(needed, there)
    # The smallest first: a refusal comes before anything large is fetched.
    for part, file, path in sorted(every, key=lambda one: one[1].size):
        bars.file(file.path)
        if not path.is_file():
            download(hub, part.repository, part.commit, file, path, bars.advance)


def _note(path: Path, folder: Path, bars: Bars) -> File:
    bars.file(path.name)
    hashed = hashlib.sha256()
    take_in(hashed, path, bars.advance)
    return File(path.relative_to(folder).as_posix(), path.stat().st_size, f"sha256:{hashed.hexdigest()}")


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
