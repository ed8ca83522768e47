"""The pages' own files: read and compressed once, at addresses that change with the content.

A page names `static/v-<version>/…`, which browsers cache for good. The same files without a version are revalidated
each time. All modules that a page needs are one file, and all styles: browsers fetch six at a time, and seventy small
ones took twelve round trips.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path
from posixpath import dirname, join, normpath

from tintype.web.responses import Body

#: All styles in one file; next to the others, as their addresses of fonts are relative.
STYLES = "style/all.css"
#: What modules have of each other: the only forms that they use, so that they can be put into functions as they are.
IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";', re.M)
EXPORT = re.compile(r"^export ((?:async )?(?:function\*?|class|const) (\w+))", re.M)
#: Each module runs once, when another one first uses it, and returns what it exports.
BEGIN = "const $modules = {};\nconst $ran = {};\nconst $use = (name) => ($ran[name] ??= $modules[name]());\n"
VERSIONED = re.compile(r"v-[0-9a-f]+/")
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATED = "no-cache"


class Assets:
    """The files of a folder, by their paths in it; and those that are put together out of them."""

    def __init__(self, folder: Path, styles: Sequence[str], pages: Sequence[str]) -> None:
        """Compresses them, which takes some 100 ms; raises OSError, KeyError for a file that is not there.

        styles: of the folder `style`, in their order in STYLES. pages: the modules that pages run.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        modules = {name: text.decode() for name, text in files.items() if name.endswith(".js")}
        files |= {packed_name(page): packed(modules, f"{page}.js").encode() for page in pages}
        files[STYLES] = b"".join(files[f"style/{name}.css"] for name in styles)
        self._files: Mapping[str, Body] = {name: Body.of(content, _media_type(name)) for name, content in files.items()}
        tags = "".join(f"{name} {body.etag}\n" for name, body in self._files.items())
        #: Of the content of all of them.
        self.version = sha256(tags.encode()).hexdigest()[:12]

    def find(self, path: str) -> tuple[Body, str] | None:
        """A file by its path, with a version before it or without, and its cache-control; None where there is none.

        Of another version, as while servers are upgraded one by one, it is the present one, and not cached for good.
        """
        version = VERSIONED.match(path)
        body = self._files.get(path[version.end() :] if version else path)
        mine = version is not None and version[0] == f"v-{self.version}/"
        return None if body is None else (body, IMMUTABLE if mine else REVALIDATED)


def packed_name(page: str) -> str:
    """Where a page's module is, together with all that it needs: in the same folder, since it asks for its address."""
    return f"{page}.page.js"


def packed(modules: Mapping[str, str], entry: str) -> str:
    """A module out of itself and those that it needs, of which none imports another in a circle; they are by path."""
    needed = [entry]
    for name in needed:  # grows meanwhile
        needed += [one for one in dict.fromkeys(imports(name, modules[name])) if one not in needed]
    return BEGIN + "".join(_as_function(name, modules[name]) for name in needed) + f'$use("{entry}");\n'


def imports(name: str, text: str) -> list[str]:
    """The paths of the modules that one imports."""
    return [normpath(join(dirname(name), path)) for _, path in IMPORT.findall(text)]


def _as_function(name: str, text: str) -> str:
    def used(found: re.Match[str]) -> str:
        names = found[1].replace(" as ", ": ")
        return f'const {{{names}}} = $use("{normpath(join(dirname(name), found[2]))}");'

    exported = ", ".join(found[2] for found in EXPORT.finditer(text))
    body = EXPORT.sub(r"\1", IMPORT.sub(used, text))
    return f'$modules["{name}"] = () => {{\n{body}\nreturn {{ {exported} }};\n}};\n'


def _media_type(name: str) -> str:
    """As browsers need it, whatever the machine's own table says of scripts and fonts."""
    known = {".js": "text/javascript", ".woff2": "font/woff2", ".webp": "image/webp"}
    return known.get(Path(name).suffix) or guess_type(name)[0] or "application/octet-stream"
