"""The pages' files: their version, what of them a page names, and who gets them compressed."""

from __future__ import annotations

import re
import shutil
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tintype.web.pages.assets import EXPORT, IMPORT, STYLES, Assets, imports, packed, packed_name
from tintype.web.pages.shell import STATIC
from tintype.web.responses import takes_gzip

FILES = {
    "style/first.css": "a {}\n",
    "style/last.css": "b {}\n",
    "page.js": 'import { b as bee, named } from "./b.js";\nimport {\n  c,\n} from "./parts/c.js";\n'
    "console.log(bee, named(), c);\n",
    "b.js": 'import { d } from "./d.js";\nexport const b = d + 1;\nexport async function* more() {}\n'
    'export function named() {\n  return "import x from \\"./none.js\\";";\n}\n',
    "d.js": 'console.log("once");\nexport const d = 1;\nexport class D {}\n',
    "parts/c.js": 'import { d } from "../d.js";\nconst b = 40;\nexport const c = b + d;\n',
    "other.js": "",
}  # fmt: skip


def assets(folder: Path, **changed: str) -> Assets:
    for name, text in {**FILES, **changed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Assets(folder, ("last", "first"), ("page",))


def test_the_version_is_that_of_all_files(tmp_path: Path) -> None:
    before = assets(tmp_path)
    assert assets(tmp_path).version == before.version
    assert assets(tmp_path, **{"other.js": "x"}).version != before.version
    (tmp_path / "other.js").rename(tmp_path / "another.js")
    assert Assets(tmp_path, (), ()).version not in (before.version, assets(tmp_path).version)


def test_a_page_s_module_does_what_it_does_with_all_that_it_imports_in_one_file(tmp_path: Path) -> None:
    found = assets(tmp_path).find(packed_name("page"))
    assert found is not None
    script = found[0].plain
    assert b"other.js" not in script
    if node := shutil.which("node"):
        command = [node, "--input-type=module", "-"]
        done = subprocess.run(command, input=script, capture_output=True, check=True)
        assert done.stdout.decode().split("\n") == ["once", '2 import x from "./none.js"; 41', ""]


def test_the_pages_modules_can_be_put_into_one() -> None:
    """They import and export in the forms that are known, and not in a circle."""
    modules = {path.relative_to(STATIC).as_posix(): path.read_text("utf-8") for path in STATIC.rglob("*.js")}
    for name, text in modules.items():
        # Comments name types of other modules, and templates hold other languages.
        code = re.sub(r"/\*.*?\*/|`.*?`", "", text, flags=re.S)
        assert len(re.findall(r'\b(?:from|import) "\.|\bimport\(', code)) == len(IMPORT.findall(text)), name
        assert len(re.findall(r"^export\b", code, re.M)) == len(EXPORT.findall(text)), name
    TopologicalSorter({name: imports(name, text) for name, text in modules.items()}).prepare()
    with pytest.raises(KeyError):
        packed({"page.js": 'import { a } from "./none.js";\n'}, "page.js")


def test_the_styles_are_one_file_in_their_order(tmp_path: Path) -> None:
    found = assets(tmp_path).find(STYLES)
    assert found is not None
    assert found[0].plain == b"b {}\na {}\n"


def test_nothing_else_is_found(tmp_path: Path) -> None:
    found = assets(tmp_path)
    for path in (
        "",
        "none.js",
        "../page.js",
        "v-0/../page.js",
        f"v-{found.version}/",
        f"v-{found.version}/v-0/page.js",
    ):
        assert found.find(path) is None


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip; q=0.001", True), ("", False), ("br", False), ("gzip;q=0", False),
     ("gzip;q=0.000, br", False), ("x-gzip2", False)],
)  # fmt: skip
def test_who_takes_gzip(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) == takes
