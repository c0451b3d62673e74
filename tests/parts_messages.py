"""What the service can say, read off its sources: texts with … where a value stands."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GAP = "…"
RAISED = {"CaptureError", "SinkUnavailable", "SinkRefused", "SpoolError", "SpoolDiskError", "lose", "_tell"}
LOGGED = {"warning", "error"}
_LEAST = 8  # letters; less is what joins two other texts


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text below a node, a formatted one as a whole."""
    if isinstance(tree, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in tree.values)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield re.sub(r"\{[a-z][^}]*\}", GAP, tree.value)
    else:
        for child in ast.iter_child_nodes(tree):
            yield from texts(child)


def spoken(folder: str = "monitor") -> set[str]:
    """Every text in the sources of a folder."""
    return {text for path in _sources(folder) for text in texts(_tree(path))}


def troubles() -> set[str]:
    """What can be the matter with a source, the broker or the spool: what `/ready` gives as reasons."""
    raised = {
        text
        for path in _sources("monitor")
        for call in _calls(_tree(path))
        if _name(call) in RAISED
        for argument in call.args
        for text in texts(argument)
    }
    reasons = {text for text in texts(_tree(ROOT / "monitor" / "mqtt_reasons.py")) if GAP in text}
    return {text for text in raised | reasons if len(re.sub(r"\W", "", text)) >= _LEAST}


def warnings() -> set[str]:
    """The phrases of every warning and error in the log."""
    return {
        text
        for path in _sources("monitor")
        for call in _calls(_tree(path))
        if _name(call) in LOGGED and call.args
        for text in texts(call.args[0])
    }


def _sources(folder: str) -> Iterator[Path]:
    return (ROOT / folder).rglob("*.py")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
