"""Templates that want to hang, to fill the memory or to reach Python: an error within a second, and little memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.core.errors import TokenizerError
from lilims.tokenizer import ChatTemplate, ChatTemplateError

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
LISTS = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
TUPLES = "{% set ns = namespace(x=(1,)) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}"
OTHERS = LISTS + "{% set o = namespace(x=[1]) %}{% for i in range(60) %}{% set o.x = [o.x, o.x] %}{% endfor %}"
BIG = "{% set ns = namespace(x='ab') %}{% for i in range(18) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
PLAIN = "{% set ns = namespace(x='a' ~ 1) %}{% for i in range(18) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
AGAIN = "{% set ns = namespace(x='a') %}{% for i in range(99) %}"
OFTEN = "{% for i in range(90000) %}"

HOSTILE = {
    "a long loop": "{% for i in range(10**9) %}x{% endfor %}",
    "an empty loop": "{% for i in range(10**9) %}{% endfor %}",
    "nested loops": "{% for i in range(3000) %}{% for j in range(3000) %}{% endfor %}{% endfor %}",
    "loops in a macro": "{% macro m(n) %}{% for i in range(9) %}{{ m(n + 1) }}{% endfor %}{% endmacro %}{{ m(0) }}",
    "endless recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a recursive loop": "{% for i in [1] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "a caller that calls": "{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{% call m() %}{% endcall %}",
    "a long string": "{{ 'x' * 10**10 }}",
    "a long list": "{{ [1] * 10**9 }}",
    "a string doubled": AGAIN + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "joined": AGAIN + "{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
    "replaced": AGAIN + "{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}",
    "replaced between": "{{ ('a' * 9999).replace('', 'b' * 9999) }}",
    "a list doubled": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "printed often": BIG + OFTEN + "{{ ns.x }}{% endfor %}",
    "captured often": BIG + OFTEN + "{% set y %}{{ ns.x }}{% endset %}{% endfor %}",
    "padded": "{{ 'x'.ljust(10**10) }}",
    "centred": "{{ 'x'.center(10**10) }}",
    "filled": "{{ '1'.zfill(10**10) }}",
    "a width of %": "{{ '%1000000000d' % 1 }}",
    "a width of format": "{{ '{:1000000000}'.format(1) }}",
    "a field of format": "{{ '{0.__class__.__mro__}'.format(1) }}",
    "an index of format": "{{ '{0[0]}'.format('ab') }}",
    "format of a format": "{{ '{:{}}'.format(1, 999999999) }}",
    "an indent": "{{ 'a' | indent(10**9) }}",
    "a long margin": "{{ 'a\nb' | indent('x' * 10**6) }}",
    "an indent of JSON": "{{ [[[1]]] | tojson(indent=10**9) }}",
    "a separator of JSON": "{{ [1, 2] | tojson(separators=('x' * 10**6, ':')) }}",
    "deep JSON with an indent": LISTS + "{{ ns.x | tojson(indent=16) }}",
    "a power": "{{ 9**9**9 }}",
    "a power of a fraction": "{{ 9.9 ** 9999 }}",
    "a product": "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "a long number": "{{ " + "9" * 39000 + " }}",
    "rounded": "{{ 5 | round(-999999999) }}",
    "batches": "{{ [1] | batch(10**9, 'x') | list }}",
    "a tangle printed": LISTS + "{{ ns.x }}",
    "a tangle as text": LISTS + "{{ ns.x | string | length }}",
    "a tangle as JSON": LISTS + "{{ ns.x | tojson }}",
    "tangles compared": OTHERS + "{{ ns.x == o.x }}",
    "tangles ordered": OTHERS + "{{ ns.x < o.x }}",
    "tangles sorted": OTHERS + "{{ [ns.x, o.x] | sort }}",
    "the least tangle": OTHERS + "{{ [ns.x, o.x] | min }}",
    "a tangle sought": OTHERS + "{{ ns.x in [o.x] }}",
    "the place of a tangle": OTHERS + "{{ [1].index(o.x) }}",
    "tangles counted": OTHERS + "{{ [ns.x].count(o.x) }}",
    "tangles changing": OTHERS + "{% for i in [ns.x, o.x] %}{{ loop.changed(i) }}{% endfor %}",
    "a tangle as key": TUPLES + "{{ {ns.x: 1} }}",
    "a tangle looked up": TUPLES + "{{ {}[ns.x] }}",
    "a tangle got": TUPLES + "{{ {}.get(ns.x) }}",
    "a tangle in a mapping": TUPLES + "{{ ns.x in {} }}",
    "unique tangles": TUPLES + "{{ [ns.x] | unique | list }}",
    "a mapping of tangles": TUPLES + "{{ dict([(ns.x, 1)]) }}",
    "a tangle missing": TUPLES + "{{ [1][ns.x].y }}",
    "a tangle refused": LISTS + "{{ raise_exception(ns.x) }}",
    "a tangle as filter": LISTS + "{{ [1] | map(ns.x) | list }}",
    "a tangle as test": LISTS + "{{ [1] | select(ns.x) | list }}",
    "a tangle as width": LISTS + "{{ 'a' | indent(ns.x) }}",
    "a tangle in %": LISTS + "{{ '%s' % ns.x }}",
    "a tangle joined": LISTS + "{{ [ns.x] | join }}",
    "a tangle as date": LISTS + "{{ strftime_now(ns.x) }}",
    "characters often": BIG + OFTEN + "{% set y = ns.x[0] + ns.x[i] %}{% endfor %}{{ raise_exception('in time') }}",
    "strings compared often": BIG + "{% set b = ns.x ~ '' %}" + OFTEN + "{% set y = b == ns.x %}{% endfor %}",
    "strings searched often": BIG + OFTEN + "{% set y = 'q' in ns.x %}{% endfor %}",
    "strings searched backwards": PLAIN + "{{ ns.x.rfind('b' + ns.x[:99999]) }}",
    "strings stripped often": BIG + OFTEN + "{% set y = ns.x | trim %}{% endfor %}",
    "strings turned often": BIG + OFTEN + "{% set y = ns.x | reverse %}{% endfor %}",
    "strings as numbers often": PLAIN + OFTEN + "{% set y = ns.x | float %}{% endfor %}",
    "strings tested often": BIG + OFTEN + "{% set y = ns.x is lower %}{% endfor %}",
    "strings in capitals often": BIG + OFTEN + "{% set y = ns.x.upper() %}{% endfor %}",
    "words": "{{ ('a ' * 10**6).split() | length }}",
    "words apart": "{{ ('a ' * 10**6).split(' ') | length }}",
    "lines": "{{ ('\n' * 10**6).splitlines() | length }}",
    "lines indented": "{{ ('\n' * 10**6) | indent }}",
    "characters": "{{ ('a' * 10**6) | list }}",
    "patches": "{% set ns = namespace(x='') %}" + OFTEN + "{% set ns.x = ns.x ~ 'a' ~ i %}{% endfor %}",
    "a number in a range": "{{ 'x' in range(2**40) }}",
    "a large range": "{{ range(2**70) | length }}",
    "a range as list": "{{ range(10**7) | list }}",
    "a range summed": "{{ range(10**7) | sum }}",
    "a date with a width": "{{ strftime_now('%999999999d') }}",
    "a class": "{{ ''.__class__.__mro__ }}",
    "a class by key": "{{ ''['__class__']['__mro__'] }}",
    "a class by map": "{{ [''] | map(attribute='__class__.__mro__') | list | tojson }}",
    "globals": "{{ raise_exception.__globals__.x }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m.__globals__.x }}",
    "a namespace's class": "{{ namespace().__class__.x }}",
    "a namespace's own": "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "a loop's own": "{% for i in [1] %}{{ loop._items.x }}{% endfor %}",
    "an undefined name's own": "{{ nothing.__class__ }}",
    "the environment": "{{ self.__init__.x }}",
    "the context": "{{ cycler.__init__.x }}",
    "the filter attr": "{{ '' | attr('__class__') }}",
    "a change": "{{ messages.append(1) }}",
    "a change of a message": "{{ messages[0].update({'content': 'x'}) }}",
    "an item set": "{% set messages.x = 1 %}",
    "another file": "{% include '/etc/passwd' %}",
    "another template": "{% extends 'x' %}",
    "an import": "{% import 'os' as os %}",
    "deep brackets": "{{ " + "[" * 20000 + "]" * 20000 + " }}",
    "deep parentheses": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "a deep not": "{{ " + "not " * 9500 + "1 }}",
    "a deep minus": "{{ " + "-" * 39000 + "1 }}",
    "a long sum": "{{ 1" + "+1" * 19000 + " }}",
    "a long chain": "{{ a" + ".a" * 19000 + " }}",
    "many filters": "{{ 'a'" + "|e" * 19000 + " }}",
    "deep branches": "{% if 1 %}" * 6000,
    "deep loops": "{% for i in [1] %}" * 900 + "{% endfor %}" * 900,
    "braces": "{{" * 19000,
    "comments": "{#" * 19000,
    "quotes": "{{ '" + "\\'" * 19000,
    "underscores": "{{ " + "1_" * 19000 + " }}",
    "spaces": "{%" + " " * 39000,
    "lines before a block": "\n" * 39000 + "{%",
    "too long a template": "x" * 100_000,
}  # fmt: skip


def attempt(source: str, messages: list[dict[str, Any]] = MESSAGES) -> str | None:
    """The text, or None where there is an error of ours."""
    try:
        return ChatTemplate(source).render(messages)
    except ChatTemplateError:
        return None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template(name: str) -> None:
    begun = time.process_time()
    with pytest.raises(TokenizerError) as caught:
        ChatTemplate(HOSTILE[name]).render(MESSAGES)
    assert time.process_time() - begun < 60  # what they ask for would take hours
    assert len(str(caught.value)) < 2000


WATCHED = """
import json, resource, sys
from lilims.tokenizer import ChatTemplate, ChatTemplateError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

ChatTemplate("{{ 1 }}").render([{"role": "user"}])
before = peak()
for source in json.load(sys.stdin):
    try:
        ChatTemplate(source).render([{"role": "user"}])
    except ChatTemplateError:
        pass
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module there")
def test_the_memory_of_all_of_them() -> None:
    given = json.dumps([source for source in HOSTILE.values() if len(source) < 1000])  # long ones only take time
    done = subprocess.run([sys.executable, "-c", WATCHED], input=given, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 160 << 20


PIECES = st.sampled_from(
    ["{% for i in ns.x %}", "{% for i in range(500) %}", "{% endfor %}", "{% set ns.x = ns.x ~ ns.x %}", "{{ ns.x }}",
     "{% set ns.x = [ns.x, ns.x] %}", "{% set ns.x = ns.x * 3 %}", "{% set ns.x = ns.x | string %}", "{% if ns.x %}",
     "{% endif %}", "{% set ns.x = (ns.x, i) %}", "{% set ns.x = ns.x | tojson %}", "{% set ns.x = ns.x + ns.x %}",
     "{% set ns.x = {'a': ns.x} %}", "{{ ns.x | sort }}", "{{ ns.x in [ns.x] }}", "{% macro m() %}", "{% endmacro %}",
     "{{ m() }}", "{% set ns.x = ns.x[1:] %}", "{% set ns.x = ns.x.replace('a', ns.x) %}", "{% set ns.x %}",
     "{% set ns.x = ns.x | list %}", "{% endset %}", "{% set ns.x = ns.x | join(ns.x) %}",
     "{% set ns.x = ns.x | indent %}"]
)  # fmt: skip


@given(st.lists(PIECES, min_size=3, max_size=14))
def test_pieces_of_hostile_templates(pieces: list[str]) -> None:
    """Whatever they add up to ends soon: as text, or as an error of ours."""
    begun = time.process_time()
    attempt("{% set ns = namespace(x='ab') %}" + "".join(pieces))
    assert time.process_time() - begun < 60  # what they ask for would take hours


@given(st.text(st.sampled_from("{}%#-+ \n'\"ab()[].|~=,1_\\forinsetmd"), max_size=60))
def test_any_text_is_a_template_or_an_error(source: str) -> None:
    attempt(source)


def test_a_long_conversation_is_not_hostile() -> None:
    """What is granted grows with what is given: 3,000 messages, and one of a megabyte."""
    from .test_chat_templates import source

    many = [{"role": ("user", "assistant")[n % 2], "content": f"message {n} <think>a</think> b"} for n in range(3001)]
    for name in ("qwen3", "llama3_2", "mistral_nemo", "smollm3", "gpt_oss"):
        text = ChatTemplate(source(name), tokens={"bos_token": "", "eos_token": ""}).render(many)
        assert text.count("message 3000 ") == 1, name
        long = ChatTemplate(source(name), tokens={"bos_token": "", "eos_token": ""}).render(
            [{"role": "user", "content": "word " * 200_000}]
        )
        assert len(long) > 999_000, name


def test_a_conversation_that_holds_itself() -> None:
    messages: list[Any] = [{"role": "user", "content": "x"}]
    messages[0]["more"] = messages
    with pytest.raises(ChatTemplateError, match="nested deeper"):
        ChatTemplate("{{ messages }}").render(messages)


def test_threads_do_not_meet() -> None:
    """One template, several threads."""
    from concurrent.futures import ThreadPoolExecutor

    loop = "{% for m in messages %}{% set ns.x = ns.x ~ m.content %}{% endfor %}"
    template = ChatTemplate("{% set ns = namespace(x='') %}" + loop + "{{ ns.x }}")
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda n: template.render([{"role": "user", "content": str(n)}] * 50), range(64))
    assert list(found) == [str(n) * 50 for n in range(64)]
