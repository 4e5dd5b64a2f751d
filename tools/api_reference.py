"""Reference pages of an API, from its stubs: signatures and docstrings as Markdown. Nothing is imported."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

SECTION = re.compile(r"(Args|Returns|Raises|Attributes|Yields):$")
TITLES = {"Args": "Arguments"}
ITEM = re.compile(r"(\w+): (.*)")


def reference(modules: list[Path]) -> Iterator[str]:
    """Every public class and function of these .pyi and .py files."""
    for path in modules:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                yield from entry(node, 3)


def entry(node: ast.ClassDef | ast.FunctionDef, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{node.name}`\n"
    if isinstance(node, ast.ClassDef):
        yield from class_entry(node, level)
    else:
        yield f"```\n{signature(node)}\n```\n"
        yield from described(ast.get_docstring(node))


def class_entry(node: ast.ClassDef, level: int) -> Iterator[str]:
    makers = [item for item in methods(node) if item.name in ("__new__", "__init__")]
    head = (
        signature(makers[0], node.name) if makers else f"class {node.name}({', '.join(map(ast.unparse, node.bases))})"
    )
    yield f"```\n{head}\n```\n"
    yield from described(ast.get_docstring(node))
    fields = list(attributes(node))
    yield from fields
    if fields:
        yield ""
    for item in methods(node):
        if not item.name.startswith("_") and not has_decorator(item, "property", "setter"):
            yield from entry(item, level + 1)


def methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    return (item for item in node.body if isinstance(item, ast.FunctionDef))


def has_decorator(node: ast.FunctionDef, *names: str) -> bool:
    return any(ast.unparse(decorator).rpartition(".")[2] in names for decorator in node.decorator_list)


def attributes(node: ast.ClassDef) -> Iterator[str]:
    """Properties, annotated fields and the members of an enumeration, each with the text that stands behind it."""
    for item, text in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.FunctionDef) and has_decorator(item, "property") and item.returns:
            yield f"- `{item.name}: {ast.unparse(item.returns)}`: {one_line(ast.get_docstring(item))}"
        elif isinstance(item, (ast.AnnAssign, ast.Assign)):
            words = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else None
            if isinstance(words, str):
                yield f"- `{ast.unparse(item)}`: {one_line(words)}"


def signature(node: ast.FunctionDef, name: str | None = None) -> str:
    """As one would call it; one argument a line where it is long."""
    arguments = ast.unparse(node.args).removeprefix("cls").removeprefix("self").removeprefix(", ").removeprefix("/, ")
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and not name else ""
    line = f"{name or node.name}({arguments}){returns}"
    if len(line) <= 100:
        return line
    parts = re.split(r", (?![^\[]*\])", arguments)
    return f"{name or node.name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"


# -- Docstrings


def one_line(text: str | None) -> str:
    return " ".join(plain(text).split())


def plain(text: str | None) -> str:
    """Without the marks of reStructuredText."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text or "")
    return text.replace("``", "`")


def described(docstring: str | None) -> Iterator[str]:
    """The text, with the sections of Google's style as lists."""
    lines = inspect.cleandoc(plain(docstring)).splitlines()
    while lines:
        line = lines.pop(0)
        if section := SECTION.match(line):
            yield f"**{TITLES.get(section[1], section[1])}**\n"
            yield from items(block(lines))
            if lines:
                yield ""
        else:
            yield line
    if docstring:
        yield ""


def block(lines: list[str]) -> list[str]:
    """Take the indented lines at the beginning of ``lines``."""
    taken = []
    while lines and (not lines[0].strip() or lines[0].startswith(" ")):
        taken.append(lines.pop(0))
    return textwrap.dedent("\n".join(taken)).strip("\n").splitlines()


def items(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if match := ITEM.match(line):
            yield f"- `{match[1]}`: {match[2]}"
        elif line.startswith(" "):
            yield f"  {line.strip()}"
        else:
            yield line
