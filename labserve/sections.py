"""Sections: the parts of a module under its `# exercise 2.1` comments.

The reference modules and the student's have the same shape: a head, then one section an exercise, in order. These
functions work on the text alone.
"""

import ast
import re
from collections.abc import Iterator

_MARK = re.compile(r"^# exercise (\d\.\d)[ \t\r]*$", re.MULTILINE)


def split(source: str) -> tuple[str, dict[str, str]]:
    """The head of a module and its sections by exercise id, without the marks; one that is there twice is joined."""
    head, *rest = _MARK.split(source)
    found: dict[str, str] = {}
    for id_, body in zip(rest[::2], rest[1::2], strict=True):
        found[id_] = f"{found[id_]}\n\n\n{body.strip(chr(10))}" if id_ in found else body.strip("\n")
    return head, found


def join(head: str, sections: dict[str, str]) -> str:
    """The module's text: the head, then every section under its mark, in the order of the ids."""
    parts = [head.rstrip("\n")] + [f"# exercise {id_}\n{sections[id_].strip(chr(10))}" for id_ in sorted(sections)]
    return "\n\n\n".join(parts).lstrip("\n") + "\n"


def has_mark(source: str) -> bool:
    """Whether the text holds a line that would start a section of its own."""
    return bool(_MARK.search(source))


def place(source: str, line: int) -> tuple[str, int]:
    """The exercise whose section holds this line of a module, and the line's number in it; "" for the head."""
    id_, start = "", 0
    for number, text in enumerate(source.split("\n")[:line], 1):
        if mark := _MARK.match(text):
            id_, start = mark[1], number
    return id_, line - start


def answer(source: str, exercise_id: str) -> str:
    """What a student would put into the cell: the section, and those imports of the head that it uses."""
    head, sections = split(source)
    section = sections[exercise_id]
    used = {node.id for node in ast.walk(ast.parse(section)) if isinstance(node, ast.Name)}
    imports = [line for node in ast.parse(head).body if (line := _import_line(node, used))]
    return "\n".join(imports) + "\n\n\n" + section if imports else section


def _import_line(node: ast.stmt, used: set[str]) -> str:
    """The import statement cut down to the names in use; empty if it is none or none of its names is used."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return ""
    node.names = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
    return ast.unparse(node) if node.names else ""


def public_names(source: str) -> set[str]:
    """The public names that a piece of module text binds at its top level, imports aside."""
    return {name for name in _bound(ast.parse(source).body) if not name.startswith("_")}


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
            yield from (name.id for name in names if isinstance(name.ctx, ast.Store))
