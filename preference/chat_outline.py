"""What a chat template puts around the texts of a conversation: found once, then filled in without rendering.

A template is run with texts that it cannot look at: it may put them into its output, trim them, join them with others,
and ask whether they are empty. Anything else that it does with one ends the attempt, so that an outline holds for all
conversations of the same shape, whatever their texts.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from jinja2 import Environment, nodes

Json = dict[str, Any]
Shape = tuple[tuple[str, bool], ...]  # of each message the role, and whether it has a text that is not empty

_SHAPES_KEPT = 1024
# what these tests say of a string; the others look at it
_OF_STRINGS = {
    **dict.fromkeys(("defined", "iterable", "sequence", "string"), True),
    **dict.fromkeys(("boolean", "callable", "false", "float", "integer", "mapping"), False),
    **dict.fromkeys(("none", "number", "true", "undefined"), False),
}
# these make one string of what is inside: what is done to it later would not be seen
_JOINING = (nodes.AssignBlock, nodes.Block, nodes.CallBlock, nodes.FilterBlock, nodes.Macro)


class _LookedAtError(Exception):
    """The template does more with a text than pass it on."""


def _look(*_: Any, **__: Any) -> NoReturn:
    raise _LookedAtError


class _Place(NamedTuple):
    """Where the text of a message stands."""

    message: int
    is_trimmed: bool = False


class _Hidden:
    """Texts of messages and of the template, joined; whoever looks at them is stopped."""

    __slots__ = ("_is_full", "_parts")

    def __init__(self, parts: tuple[str | _Place, ...], *, is_full: bool | None) -> None:
        """is_full: whether there is any text; None: not known."""
        object.__setattr__(self, "_parts", parts)
        object.__setattr__(self, "_is_full", is_full)

    def __add__(self, other: object) -> _Hidden:
        return _join(self, other)

    def __radd__(self, other: object) -> _Hidden:
        return _join(other, self)

    def __bool__(self) -> bool:
        is_full = _is_full(self)
        return _look() if is_full is None else is_full

    def __getattribute__(self, name: str) -> Any:
        return _Hidden if name == "__class__" else _look()  # isinstance() asks for that one

    __str__ = __repr__ = __format__ = __hash__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _look
    __len__ = __iter__ = __reversed__ = __contains__ = __getitem__ = __call__ = __int__ = __float__ = _look
    __index__ = __mul__ = __rmul__ = __mod__ = __rmod__ = __setattr__ = __delattr__ = _look


def _parts(text: object) -> tuple[str | _Place, ...]:
    if not isinstance(text, _Hidden):
        return (text,) if isinstance(text, str) else _look()
    parts: tuple[str | _Place, ...] = object.__getattribute__(text, "_parts")
    return parts


def _is_full(text: object) -> bool | None:
    return object.__getattribute__(text, "_is_full") if isinstance(text, _Hidden) else bool(text)


def _join(left: object, right: object) -> _Hidden:
    full = (_is_full(left), _is_full(right))
    return _Hidden(_parts(left) + _parts(right), is_full=True if True in full else None if None in full else False)


def _trim(text: _Hidden) -> _Hidden:
    match _parts(text):
        case (_Place(number),):
            return _Hidden((_Place(number, is_trimmed=True),), is_full=None)
    return _look()


@dataclass(frozen=True)
class Outline:
    """A rendered conversation without the texts of its messages."""

    fixed: tuple[str, ...]  # what stands before, between and after them: one more than there are places
    places: tuple[_Place, ...]

    def fill(self, texts: Sequence[str]) -> str:
        """texts: of all messages, in their order."""
        out = [self.fixed[0]]
        for (message, is_trimmed), after in zip(self.places, self.fixed[1:], strict=True):
            text = texts[message]
            out += (text.strip() if is_trimmed else text, after)
        return "".join(out)


class Outlines:
    """The outlines of one template, by the shape of a conversation without tools."""

    def __init__(self, environment: Environment, source: str, arguments: Json) -> None:
        """environment: for this alone; arguments: what the template gets beside the messages."""
        mark = secrets.token_hex(16)  # no text has it
        self._mark = re.compile(rf"<{mark}:(\d+):([01])>")

        def uncover(value: Any) -> Any:
            if not isinstance(value, _Hidden):
                return value
            parts = _parts(value)
            return "".join(part if isinstance(part, str) else f"<{mark}:{part[0]}:{part[1]:d}>" for part in parts)

        environment.finalize = uncover
        environment.filters = {name: _filter(name, each) for name, each in environment.filters.items()}
        tests: dict[str, Any] = environment.tests
        environment.tests = {name: _test(name, each) for name, each in tests.items()}
        self._arguments = arguments
        tree = environment.parse(source)
        joins = any(tree.find_all(_JOINING)) or any(loop.recursive for loop in tree.find_all(nodes.For))
        self._template = None if joins else environment.from_string(tree)
        self.find = functools.lru_cache(_SHAPES_KEPT)(self._find)

    def _find(self, shape: Shape, open_answer: bool) -> Outline | None:
        """None: the template looks at the texts of such a conversation, or refuses it, and has to be rendered."""
        if self._template is None:
            return None
        messages = [
            {"role": role, "content": _Hidden((_Place(number),), is_full=is_full)}
            for number, (role, is_full) in enumerate(shape)
        ]
        try:
            text = self._template.render(
                messages=messages, tools=None, add_generation_prompt=open_answer, **self._arguments
            )
        except Exception:  # a stranger's code may raise anything
            return None
        fixed, numbers, trims = (tuple(self._mark.split(text)[each::3]) for each in range(3))
        return Outline(fixed, tuple(_Place(int(n), trim == "1") for n, trim in zip(numbers, trims, strict=True)))


def _filter(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, which gets no hidden text."""

    @functools.wraps(real)  # jinja2 marks those that want its context
    def wrapped(*args: Any, **options: Any) -> Any:
        if name == "trim" and len(args) == 1 and not options and isinstance(args[0], _Hidden):
            return _trim(args[0])
        return _look() if _hides(*args, *options.values()) else real(*args, **options)

    return wrapped


def _test(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """The test, which gets no hidden text, but says what it says of any string."""

    @functools.wraps(real)
    def wrapped(*args: Any, **options: Any) -> Any:
        if not _hides(*args, *options.values()):
            return real(*args, **options)
        return _OF_STRINGS[name] if name in _OF_STRINGS else _look()

    return wrapped


def _hides(*values: Any) -> bool:
    return any(isinstance(value, _Hidden) for value in values)
