"""The rules of the house, read from the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rosenblatt

ROOT = Path(rosenblatt.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LEVELS = [
    {"errors", "_types", "_validate"},
    {"layers", "losses"},
    {"models"},
    {"backprop", "data", "metrics"},
    {"train"},
    {"attacks"},
    {"estimators"},
    {"files", "export", "report", "eras"},
    {"cli", "serve", "studio", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
# `save` and `inspect` are methods for the user's sake; the imports are inside them
UPWARD = {("estimators/base.py", "files"), ("estimators/base.py", "report")}


def parts(path):
    """Names of the package's parts that a source file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rosenblatt"):
            pieces = (node.module or "").split(".")
            names = [pieces[1]] if len(pieces) > 1 else [alias.name for alias in node.names]
            yield from names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    relative = path.relative_to(ROOT)
    own = relative.parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in parts(path):
        if (str(relative), name) in UPWARD or name not in LEVEL:
            continue
        assert LEVEL[name] <= LEVEL[own], f"{relative} imports {name}, which stands above it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_source_raises_and_never_asserts(path):
    assert not [n.lineno for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)]


def test_importing_the_package_does_not_import_torch():
    code = "import rosenblatt, sys; print([m for m in ('torch', 'sklearn', 'numpy', 'numba') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_public_names_resolve_where_their_module_exists():
    for name, where in rosenblatt._WHERE.items():
        if (ROOT / Path(*where.split(".")[1:])).with_suffix(".py").exists():
            assert callable(getattr(rosenblatt, name)), name
    with pytest.raises(AttributeError, match="no attribute 'Transformer'"):
        rosenblatt.Transformer  # noqa: B018


def test_no_grab_bag_modules():
    assert not [p for p in FILES if p.stem in ("utils", "common", "helpers")]


def test_estimators_take_keywords_and_only_store_them():
    for path in sorted((ROOT / "estimators").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(getattr(b, "id", "") == "Estimator" for b in node.bases):
                for function in node.body:
                    if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                        assert function.args.kwarg is None, f"{node.name} takes **kwargs"
                        calls = [n for n in ast.walk(function) if isinstance(n, ast.Call)]
                        assert not calls, f"{node.name}.__init__ does more than assign"


def test_files_speak_of_the_project_alone():
    words = re.compile(r"/work/|\.library|shared/data")
    root = ROOT.parents[1]
    for path in [*FILES, *root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        assert not words.search(path.read_text()), path
