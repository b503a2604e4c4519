"""Outlines are held to what jinja2 makes of the same conversations, for templates that look at texts and others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.chat_template import ChatTemplate, TemplateError

CHATML = (
    "{% for m in messages %}{{ '<s>' + m['role'] + '\n' + m['content'] + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
PASSING_ON = {
    "ChatML": CHATML,
    "default system prompt": "{% if messages[0].role != 'system' %}You help.{% endif %}" + CHATML,
    "trimmed": CHATML.replace("m['content']", "m['content'] | trim"),
    "a string or parts": (
        "{% for m in messages %}{% set c = m.content if m.content is string else m.content[0].text %}"
        "{{ m.role }}: {{ c }}\n{% endfor %}{% if add_generation_prompt %}A: {% endif %}"
    ),
    "empty or not": (
        "{% for m in messages %}{% if m.content %}{{ m.content + '\n' }}{% else %}-{% endif %}{% endfor %}"
        "{{ messages | length }}{{ (messages | last).role }}"
    ),
    "system prompt joined": (
        "{% set ns = namespace(s='') %}{% for m in messages %}"
        "{% if m.role == 'system' %}{% set ns.s = m.content + '\n' %}{% else %}"
        "{{ loop.index0 }}{{ ns.s }}{{ m.get('content') }}{% endif %}{% endfor %}"
    ),
    "said twice": "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
    "last one only": "{{ messages[-1].content }}",
    "none": "{{ add_generation_prompt }}",
}
LOOKING = {
    "split": CHATML.replace("m['content']", "m['content'].split('</think>')[-1]"),
    "upper": CHATML.replace("m['content']", "m['content'] | upper"),
    "sliced": CHATML.replace("m['content']", "m['content'][:3]"),
    "contains": "{% for m in messages %}{{ 'a' in m.content }}{% endfor %}",
    "is contained": "{% for m in messages %}{{ m.content in ['a', ' a'] }}{% endfor %}",
    "equal": "{% for m in messages %}{{ m.content == 'a' }}{{ 'a' != m.content }}{% endfor %}",
    "equal to each other": "{{ messages[0].content == messages[-1].content }}",
    "longer": "{{ messages[0].content > 'a' }}",
    "length": "{% for m in messages %}{{ m.content | length }}{% endfor %}",
    "lower": "{% for m in messages %}{{ m.content is lower }}{% endfor %}",
    "trimmed and asked": "{% for m in messages %}{% if m.content | trim %}{{ m.content }}{% endif %}{% endfor %}",
    "joined and trimmed": "{% for m in messages %}{{ (m.content + ' ') | trim }}{% endfor %}",
    "trimmed of a": "{% for m in messages %}{{ m.content | trim('a') }}{% endfor %}",
    "block": "{% for m in messages %}{% set c %} {{ m.content }} {% endset %}{{ c | trim }}{% endfor %}",
    "macro": "{% macro say(m) %}{{ m.content }} {% endmacro %}{% for m in messages %}{{ say(m) | trim }}{% endfor %}",
    "filtered": "{% for m in messages %}{% filter upper %}{{ m.content }}{% endfilter %}{% endfor %}",
    "named block": "{% block b %}{{ messages[0].content }} {% endblock %}{{ self.b() | trim }}",
    "recursive": "{% for m in messages recursive %}{{ m.content }}{% if m.x %}{{ loop(m.x) }}{% endif %}{% endfor %}",
    "letters": "{% for m in messages %}{% for c in m.content %}{{ c }}.{% endfor %}{% endfor %}",
    "mapped": "{{ messages | map(attribute='content') | join(',') }}",
    "sorted": "{{ (messages | sort(attribute='content') | first).content }}",
    "selected": "{{ messages | selectattr('content', 'equalto', 'a') | list | length }}",
    "as JSON": "{{ messages | tojson }}{{ messages }}",
    "as JSON, one": "{{ messages[0].content | tojson }}",
    "tilde": "{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}",
    "formatted": "{{ '%s!' % messages[0].content }}{{ '{:>9}'.format(messages[0].content) }}",
    "format filter": "{{ '%5s' | format(messages[0].content) }}",
    "repeated": "{{ messages[0].content * 2 }}",
    "a key": "{{ {'a': 1}.get(messages[0].content, 2) }}{{ {'a': 1}[messages[0].content] }}",
    "changed": "{% for m in messages %}{% if loop.changed(m.content) %}{{ m.role }}{% endif %}{% endfor %}",
    "attribute": "{{ 1 if messages[0].content.upper else 2 }}{{ messages[0].content.nothing is defined }}",
    "refused": "{{ raise_exception('no: ' + messages[0].content) }}",
    "replaced in another": "{{ 'abc'.replace('b', messages[0].content) }}",
    "starts another": "{{ 'abc'.startswith(messages[0].content) }}",
}
TEXTS = st.one_of(st.sampled_from(["", "a", " a", "a\n", "aa</think>b", "A"]), st.text(max_size=8))
MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "user", "assistant"]),
        TEXTS,
    ),
    min_size=1,
    max_size=4,
)


class Told(ChatTemplate):
    """Says whether the last conversation was rendered by jinja2."""

    rendered = False

    def _render(self, *args: Any) -> str:
        self.rendered = True
        return super()._render(*args)


def outcome(render: Any, *args: Any) -> str:
    try:
        return render(*args)
    except TemplateError as error:
        return f"refused: {error}"


def same(source: str, messages: list[dict[str, Any]], open_answer: bool) -> bool:
    """Whether it was rendered by jinja2; the text is what jinja2 makes."""
    template = Told(source)
    got = outcome(lambda: template.render(messages, None, open_answer=open_answer))
    was_rendered = template.rendered
    assert got == outcome(template._render, messages, None, open_answer)
    return was_rendered


@pytest.mark.parametrize("source", PASSING_ON.values(), ids=PASSING_ON.keys())
@given(messages=MESSAGES, open_answer=st.booleans())
def test_texts_that_are_passed_on_are_filled_in(source, messages, open_answer):
    assert not same(source, messages, open_answer)


@pytest.mark.parametrize("source", LOOKING.values(), ids=LOOKING.keys())
@given(messages=MESSAGES, open_answer=st.booleans())
def test_texts_that_are_looked_at_are_rendered(source, messages, open_answer):
    same(source, messages, open_answer)


@pytest.mark.parametrize("source", LOOKING.values(), ids=LOOKING.keys())
def test_no_outline_is_found_where_a_text_is_looked_at(source):
    conversation = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert same(source, conversation, False)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "user", "content": "a", "name": "me"},
        {"content": "a", "role": "user"},
        {"role": "user"},
    ],
    ids=["parts", "another key", "another order", "no text"],
)
def test_messages_of_another_kind_are_rendered(message):
    keys = "{% for m in messages %}{% for key, value in m.items() %}{{ key }}={{ value }}{% endfor %}{% endfor %}"
    assert same(keys, [message], True)


def test_tools_are_rendered():
    template = Told("{{ tools | tojson }}{{ messages[0].content }}")
    assert template.render([{"role": "user", "content": "a"}], [{"name": "f"}], open_answer=True) == '[{"name": "f"}]a'
    assert template.rendered
