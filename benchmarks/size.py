"""Lines of code by part, and the packages of a core installation. Run: make size"""

import ast
import io
import re
import tokenize
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]


def code_lines(path):
    """Lines that hold code: no comments, docstrings or blanks."""
    source = path.read_text()
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {n for t in tokens if t.type not in quiet for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def needed(name, found):
    """Add a distribution and all it needs, markers of this machine applied, extras left out."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return
    try:
        wanted = distribution(name).requires or []
    except PackageNotFoundError:
        return  # another platform's
    found.add(key)
    for line in wanted:
        if "extra ==" not in line:
            needed(re.match(r"[\w.-]+", line).group(), found)


def main():
    parts = {}
    for path in sorted((ROOT / "src" / "rosenblatt").rglob("*.py")):
        part = path.relative_to(ROOT / "src" / "rosenblatt").parts[0]
        parts[part] = parts.get(part, 0) + code_lines(path)
    for part, count in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"{count:6,}  {part}")
    print(f"{sum(parts.values()):6,}  lines of code in src/rosenblatt")
    ours, torchs = set(), set()
    needed("rosenblatt", ours)
    needed("torch", torchs)
    own = sorted(ours - torchs - {"rosenblatt"})
    print(f"\n{len(own)} packages besides torch and its own {len(torchs) - 1}: {', '.join(own)}")


if __name__ == "__main__":
    main()
