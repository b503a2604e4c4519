"""A model's own chat template, rendered as transformers renders it, without transformers.

Templates come with models, from strangers: they run in jinja2's sandbox and see nothing but their arguments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import Environment, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from preference.chat_outline import Outlines

Json = dict[str, Any]

_TODAY = "26 Jul 2024"  # templates that print the date get Llama 3.1's own default: counts must not change daily


class TemplateError(ValueError):
    """There is no chat template, or it refuses the messages."""


class _Generation(Extension):
    """{% generation %} only marks the answer for training: its body is rendered as it stands."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 types it as a plain set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """Renders messages to the text that the model reads."""

    def __init__(self, source: str, special_tokens: Json | None = None) -> None:
        self.source = source
        self._special_tokens = special_tokens or {}
        try:
            self._template = _environment().from_string(source)
            self._outlines = Outlines(_environment(), source, self._special_tokens)
        except jinja2.TemplateError as error:
            raise TemplateError(f"the chat template is broken: {error}") from None

    @classmethod
    def from_folder(cls, folder: Path) -> ChatTemplate:
        """chat_template.jinja, or the default one inside tokenizer_config.json."""
        config = _read_config(folder / "tokenizer_config.json")
        special = {key: _token_text(value) for key, value in config.items() if key.endswith("_token")}
        file = folder / "chat_template.jinja"
        source = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
        if isinstance(source, list):  # several, by name
            source = next((one["template"] for one in source if one.get("name") == "default"), None)
        if not isinstance(source, str):
            raise TemplateError("it has no chat template")
        return cls(source, special)

    def render(self, messages: Sequence[Json], tools: Sequence[Json] | None, *, open_answer: bool) -> str:
        """The conversation as text; open_answer puts what comes before the assistant's answer at its end."""
        if not tools and all(map(_is_plain, messages)):
            shape = tuple((message["role"], message["content"] != "") for message in messages)
            if outline := self._outlines.find(shape, open_answer):
                return outline.fill([message["content"] for message in messages])
        return self._render(messages, tools, open_answer)

    def _render(self, messages: Sequence[Json], tools: Sequence[Json] | None, open_answer: bool) -> str:
        try:
            return self._template.render(
                messages=messages,
                tools=tools or None,
                add_generation_prompt=open_answer,
                **self._special_tokens,
            )
        except Exception as error:  # a stranger's code may raise anything
            raise TemplateError(f"the chat template refuses these messages: {error}") from None


def _is_plain(message: Json) -> bool:
    return [*message] == ["role", "content"] and all(isinstance(value, str) for value in message.values())


def _environment() -> Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: _TODAY
    return environment


def _read_config(path: Path) -> Json:
    if not path.is_file():
        return {}
    config = json.loads(path.read_text(encoding="utf-8"))
    return config if isinstance(config, dict) else {}


def _token_text(value: Any) -> Any:
    return value.get("content") if isinstance(value, dict) else value


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """jinja2's own tojson escapes HTML characters; transformers' does not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
