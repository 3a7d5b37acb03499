"""The budgets of the house style, as tests: sizes, names, docstrings, reasons behind silenced checks."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 300
MAX_BODY_LINES = 30
MAX_NESTING = 3
SHAPELESS_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)

SOURCES = sorted(path for folder in ("keyfs", "scripts", "tests") for path in (ROOT / folder).rglob("*.py"))
PRODUCT = [path for path in SOURCES if path.is_relative_to(ROOT / "keyfs")]


def broken(paths: Iterable[Path], law: Callable[[Path], object]) -> dict[str, object]:
    """What each file does against a law. One test for all files: a test of its own for each takes longer."""
    return {str(path.relative_to(ROOT)): found for path in paths if (found := law(path))}


def functions_of(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Counts from the first statement behind the docstring to the last line."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def nesting(node: ast.AST) -> int:
    """Tells how deep blocks lie in each other below a node; an elif is no deeper than its if."""
    depth = 0
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        depth = max(depth, nesting(child) + (isinstance(child, BLOCKS) and not is_elif))
    return depth


def test_a_file_fits_its_budget() -> None:
    def too_long(path: Path) -> int:
        lines = len(path.read_text().splitlines())
        return lines if lines > MAX_FILE_LINES else 0

    assert not broken(SOURCES, too_long), f"lines of a file, at most {MAX_FILE_LINES}"


def test_a_function_fits_its_budget() -> None:
    def too_long(path: Path) -> dict[str, int]:
        return {f.name: body_lines(f) for f in functions_of(path) if body_lines(f) > MAX_BODY_LINES}

    assert not broken(PRODUCT, too_long), f"lines of the body, at most {MAX_BODY_LINES}"


def test_blocks_are_not_nested_too_deeply() -> None:
    def too_deep(path: Path) -> dict[str, int]:
        return {f.name: depth for f in functions_of(path) if (depth := nesting(f)) > MAX_NESTING}

    assert not broken(PRODUCT, too_deep), f"depth, at most {MAX_NESTING}"


def test_a_module_is_named_for_what_it_holds() -> None:
    def shapeless(path: Path) -> set[str]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        return SHAPELESS_NAMES & {word for part in parts for word in part.split("_")}

    assert not broken(SOURCES, shapeless)


def public_definitions(node: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    for child in node.body:
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child)


def is_override(definition: Function | ast.ClassDef) -> bool:
    """Tells whether the docstring stands elsewhere: at the method that this one implements."""
    return any(ast.unparse(decorator).endswith("override") for decorator in definition.decorator_list)


def test_a_public_name_is_documented() -> None:
    def bare(path: Path) -> list[str]:
        public = public_definitions(ast.parse(path.read_text()))
        return [d.name for d in public if ast.get_docstring(d) is None and not is_override(d)]

    assert not broken(PRODUCT, bare)


SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore|pragma|fmt:\s*off|pylint|pyright)\b")
# The reason stands behind the codes: "noqa: X - why" or "noqa: X  # why".
WITH_REASON = re.compile(r"#\s*(noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\]|pragma: [a-z ]+?)\s+(-|#)\s+\S")


def comments_of(path: Path) -> Iterator[str]:
    if not SILENCED.search(path.read_text()):
        return  # reading it word by word takes ten times as long
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def test_a_silenced_check_has_a_reason() -> None:
    def unreasoned(path: Path) -> list[str]:
        return [c for c in comments_of(path) if SILENCED.search(c) and not WITH_REASON.search(c)]

    assert not broken(SOURCES, unreasoned)


@pytest.mark.parametrize(
    ("comment", "is_reasoned"),
    [
        ("# noqa: S603", False),
        ("# noqa: S603 -", False),
        ("# noqa: S603, S607 - a fixed command", True),
        ("# noqa: BLE001  # the last line of defence", True),
        ("# type: ignore[attr-defined]", False),
        ("# type: ignore  # without a code", False),
        ("# type: ignore[no-untyped-call]  # ships no types", True),
    ],
)
def test_what_counts_as_a_reason(comment: str, is_reasoned: bool) -> None:
    assert SILENCED.search(comment)
    assert bool(WITH_REASON.search(comment)) == is_reasoned


def test_nesting_counts_blocks_but_not_elifs() -> None:
    source = """
def f():
    for a in b:
        if a: pass
        elif b:
            with c:
                pass
        else: pass
"""
    assert nesting(ast.parse(source)) == 3
