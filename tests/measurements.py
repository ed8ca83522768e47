"""What the code measures, by its syntax trees: sizes, types, names, couplings; `python -m tests.footprint --all`.

The rows are those of the review of 29 November 2026 (commit 8ef3a4a), whose figures stand beside today's where it gave
some. Migrations' `versions/` count nowhere; lines are all lines; a function's are those from `def` to its end.
"""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.tree import SOURCE
from tintype.settings import Settings

ROOT = SOURCE.parents[1]
PAGES = SOURCE / "web" / "pages" / "static"
#: Functions of a higher cyclomatic complexity are listed. Ruff's counts neither boolean operators nor comprehensions.
COMPLEX = 8
#: Of the largest, so many.
TOP = 6

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    #: `tintype.web.app`.
    name: str
    text: str
    tree: ast.Module = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Module:
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text("utf-8")
        return cls(name, text, ast.parse(text))

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def functions(self) -> list[tuple[str, Function]]:
        """All functions and methods, with their qualified names."""
        return [*_functions(self.tree, self.name)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    @property
    def imports(self) -> set[str]:
        """The modules of the project that it imports."""
        found = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
            elif isinstance(node, ast.Import):
                found |= {one.name for one in node.names}
        return {one for one in found if one.startswith("tintype.")}

    @property
    def words_lines(self) -> int:
        """Lines of comments and docstrings."""
        comments = tokenize.generate_tokens(io.StringIO(self.text).readline)
        lines = {token.start[0] for token in comments if token.type == tokenize.COMMENT}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None:
                said = node.body[0]
                lines |= set(range(said.lineno, (said.end_lineno or said.lineno) + 1))
        return len(lines)


def _functions(node: ast.AST, place: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            name = f"{place}.{child.name}"
            if isinstance(child, Function):
                yield name, child
            yield from _functions(child, name)
        else:
            yield from _functions(child, place)


def modules() -> list[Module]:
    """Every module of the package, in the order of their names."""
    return [Module.read(path) for path in sorted(SOURCE.rglob("*.py")) if path.parent.name != "versions"]


def measured(found: Sequence[Module]) -> str:
    """All of it, as text."""
    parts = (_shape(found), _packages(found), _pages(), _settings(found), _couplings(found), _largest(found))
    return "\n\n".join("\n".join(part) for part in parts)


def _shape(found: Sequence[Module]) -> list[str]:
    files = [module.lines for module in found]
    functions = [one for module in found for _, one in module.functions]
    sizes = [_size(one) for one in functions]
    classes = [one for module in found for one in module.classes]
    lines = [line for module in found for line in module.text.splitlines() if line.strip()]
    tests = sum(len(path.read_text("utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py"))
    share = sum(module.words_lines for module in found) / len(lines)
    names = Counter(one.name for one in classes)
    complexities = _complex()
    return [
        f"{'':36}{'now':>26}{'8ef3a4a':>26}",
        _row("modules", str(len(files)), "249"),
        _row("lines", f"{sum(files):,}", "22,770"),
        _row("file: median, p90, max", _spread(files, 0.5, 0.9, 1), "86, 166, 383"),
        _row("modules of at most 35 lines", str(sum(one <= 35 for one in files)), "25"),
        _row("functions", f"{len(functions):,}", "1,680"),
        _row("function: median, p90, p99, max", _spread(sizes, 0.5, 0.9, 0.99, 1), "5, 14, 28, 62"),
        _row("functions of one statement", f"{sum(_one_statement(one) for one in functions)}", "580"),
        _row("functions with a docstring", _percent(bool(ast.get_docstring(one)) for one in functions), "71 %"),
        _row("functions with a return type", _percent(one.returns is not None for one in functions), "100 %"),
        _row("comments and docstrings, of lines", f"{100 * share:.1f} %", "18.7 %"),
        _row("classes, dataclasses", f"{len(classes)}, {sum(map(_is_record, classes))}", "248, 73"),
        _row("names of several classes", str(sum(count > 1 for count in names.values())), "10"),
        _row(
            "tests : source lines", f"{tests:,} : {sum(files):,} ({tests / sum(files):.2f})", "22,243 : 22,770 (0.98)"
        ),
        _row(f"functions of complexity > {COMPLEX}", str(len(complexities)), ""),
        *(f"    {count:3}  {name}" for name, count in complexities),
    ]


def _packages(found: Sequence[Module]) -> list[str]:
    lines: dict[str, list[int]] = defaultdict(list)
    for module in found:
        lines[module.name.split(".")[1] if module.name.count(".") > 1 else _top(module)].append(module.lines)
    ordered = sorted(lines.items(), key=lambda one: -len(one[1]))
    return ["modules of each package (lines)", *(f"    {n:16}{len(s):4}{sum(s):8,}" for n, s in ordered)]


def _top(module: Module) -> str:
    """A module of the top, or the package that this is the `__init__` of."""
    name = module.name.partition(".")[2]
    return name if name and (SOURCE / name).is_dir() else "(top)"


def _pages() -> list[str]:
    texts = [path.read_text("utf-8").splitlines() for path in sorted(PAGES.rglob("*.js"))]
    sizes = [len(lines) for lines in texts]
    wide = sum(len(line) > 120 for lines in texts for line in lines)
    return [
        "JavaScript of the pages",
        _row("modules, lines", f"{len(texts)}, {sum(sizes):,}", "60, 2,933"),
        _row("median, max", _spread(sizes, 0.5, 1), "44, 154"),
        _row("lines longer than 120", str(wide), "194"),
    ]


def _settings(found: Sequence[Module]) -> list[str]:
    groups = {name: kind.annotation for name, kind in Settings.model_fields.items()}
    fields = {f"{name}.{one}" for name, kind in groups.items() for one in getattr(kind, "model_fields", {}) or [""]}
    documents = "\n".join(path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    names = {one for one in fields if one.strip(".").split(".")[-1] not in documents}
    text = "\n".join(module.text for module in found if not module.name.startswith("tintype.settings"))
    seldom = [one for one in fields if len(re.findall(rf"\.{one.strip('.').split('.')[-1]}\b", text)) <= 1]
    return [
        "Settings",
        _row("fields, in groups", f"{len(fields)}, {len(groups)}", "89, 1"),
        _row("named in no document", str(len(names)), "26"),
        _row("read in at most one place", str(len(seldom)), "49"),
    ]


def _couplings(found: Sequence[Module]) -> list[str]:
    known = {module.name for module in found}
    out = {module.name: (module.imports & known) - {module.name} for module in found}
    fan_in = Counter(name for names in out.values() for name in names)
    fan_out = Counter({name: len(names) for name, names in out.items()})
    return [
        f"imported by the most ({_first('errors 111, store.records 36, store.database 33')})",
        *_ranks(fan_in.most_common(TOP)),
        f"import the most ({_first('web.services 32, web.app 25, worker.start 20')})",
        *_ranks(fan_out.most_common(TOP)),
    ]


def _largest(found: Sequence[Module]) -> list[str]:
    classes = [(f"{module.name}.{one.name}", one) for module in found for one in module.classes]
    fields = [(name, sum(isinstance(node, ast.AnnAssign) for node in one.body)) for name, one in classes]
    methods = [(name, sum(isinstance(node, Function) for node in one.body)) for name, one in classes]
    parameters = [(name, _parameters(one)) for module in found for name, one in module.functions]
    return [
        f"largest by fields ({_first('Settings 89, Request 39, Services 27')})",
        *_ranks(_most(fields)),
        f"largest by methods ({_first('Worker 18, Residency 16, Leases 15')})",
        *_ranks(_most(methods)),
        f"functions by parameters ({_first('keys.create 14, Worker 13, Heart 12')})",
        *_ranks(_most(parameters)),
    ]


def _complex() -> list[tuple[str, int]]:
    """Functions of a high cyclomatic complexity (ruff's C901), the highest first."""
    limit = f"lint.mccabe.max-complexity={COMPLEX}"
    arguments = ["check", "--isolated", "--exit-zero", "--select", "C901", "--config", limit, "--output-format", "json"]
    ruff = Path(sys.executable).with_name("ruff")
    ran = subprocess.run([ruff, *arguments, SOURCE], check=True, capture_output=True, text=True)
    found = []
    for one in json.loads(ran.stdout):
        place = Path(one["filename"]).relative_to(SOURCE)
        words = re.findall(r"`(.+)` is too complex \((\d+)", one["message"])
        found += [(f"{place}: {name}", int(count)) for name, count in words if place.parent.name != "versions"]
    return sorted(found, key=lambda one: -one[1])


def _size(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _one_statement(function: Function) -> bool:
    return len(function.body) - bool(ast.get_docstring(function)) <= 1


def _is_record(one: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in one.decorator_list)


def _parameters(function: Function) -> int:
    arguments = function.args
    return len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs])


def _spread(sizes: Sequence[int], *shares: float) -> str:
    ordered = sorted(sizes)
    return ", ".join(str(ordered[min(int(share * len(ordered)), len(ordered) - 1)]) for share in shares)


def _percent(true: Iterable[bool]) -> str:
    found = [*true]
    return f"{100 * sum(found) / len(found):.0f} %"


def _most(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts, key=lambda one: -one[1])[:TOP]


def _ranks(counts: Iterable[tuple[str, int]]) -> list[str]:
    return [f"    {count:4}  {name.removeprefix('tintype.')}" for name, count in counts]


def _first(words: str) -> str:
    return f"8ef3a4a: {words}"


def _row(what: str, now: str, then: str) -> str:
    return f"{what:36}{now:>26}{then:>26}"
