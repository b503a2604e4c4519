"""What an evaluator's source needs installed, read from its files."""

from __future__ import annotations

import ast
import re
from pathlib import Path, PurePosixPath

from blocks.evaluator_tree import EvaluatorError, files_of, is_inside, parse_python

_LIBRARIES = {"eval_protocol": "eval-protocol", "reward_kit": "reward-kit"}  # module: its distribution
_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DEEPEST = 5
_COMMENT = re.compile(r"(^|\s)#.*$")


def requirements_of(root: Path, more: str) -> tuple[str, ...]:
    """The lines of requirements.txt and of `more`, and the evaluation library that its code imports."""
    lines = [*_lines_of(root, "requirements.txt"), *more.splitlines()]
    stripped = (_COMMENT.sub("", line).strip() for line in lines)
    wanted = list(dict.fromkeys(line for line in stripped if line))
    names = {match[0].lower().replace("_", "-") for line in wanted if (match := _DISTRIBUTION.match(line))}
    for module, distribution in _LIBRARIES.items():
        # the platform's image has the library; an environment of its own needs it said
        said = distribution in names or any(distribution in line for line in wanted)
        if not said and module in _imports(root) and not (root / module).exists():
            wanted.append(distribution)
    return tuple(wanted)


def _lines_of(root: Path, file: str, depth: int = 0) -> list[str]:
    """A requirements file's lines, those of the files that it names by -r in their place."""
    if not is_inside(root, file):
        if not depth:
            return []
        raise EvaluatorError(f"its requirements name the file {file}, which the source does not have")
    lines: list[str] = []
    for line in (root / file).read_text(encoding="utf-8-sig").splitlines():
        included = re.match(r"\s*(?:-r|--requirement)[\s=]*(\S+)", line)
        if included and depth == _DEEPEST:
            raise EvaluatorError(
                f"its requirements name one file from another {depth} deep, {file} last: end the circle"
            )
        if included:
            lines += _lines_of(root, str(PurePosixPath(file).parent / included[1]), depth + 1)
        else:
            lines.append(line)
    return lines


def _imports(root: Path) -> set[str]:
    """Top-level modules that any of the source's files imports."""
    found: set[str] = set()
    for file in files_of(root):
        if not file.endswith(".py"):
            continue
        for node in ast.walk(parse_python(root / file)):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found
