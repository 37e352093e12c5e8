"""Writes templates.json and families.json beside this script: chat templates, with what transformers renders from them.

    python make_templates.py
    python make_templates.py --real OUT TEMPLATE.jinja...

templates.json has short ones, families.json one in the style of each family with a table of conversations. With --real
the same conversations are rendered by the templates given, to OUT/chats.json.

Needs transformers (made with 5.24.0; torch is not needed). What transformers refuses has no text.
"""

import argparse
import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

from families import CONVERSATIONS, FAMILIES

HERE = Path(__file__).parent
SPECIAL = dict(bos_token="<s>", eos_token="</s>")
MESSAGES = [
    dict(role="system", content="Be brief."),
    dict(role="user", content=" Is \"1 < 2\"?\nNaïve 🦀 "),
    dict(role="assistant", content="yes"),
    dict(role="user", content="it's so?"),
]

TEMPLATES = r"""
{{ bos_token }}{{ sep_token }}{{ pad_token is defined }}{{ tools is none and documents is none }}{{ add_generation_prompt }}
{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% elif loop.index > 3 %}{% break %}{% endif %}{{ m.content | trim }},{% endfor %}
{% for m in messages[::-1] %}{% if m.role == 'user' %}{{ m.content }}{% break %}{% else %}{{ m.role }}{% endif %}{% else %}none{% endfor %}
{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}<{{ m.role }}>{% endif %}{% endfor %}
{%- for m in messages -%}  {%- generation -%}  [{{ loop.index }}{{ m.role }}]  {%- endgeneration +%} {%- endfor %}|
{% set ns = namespace(x=1) %}{% generation %}{% set y = 2 %}{% set ns.x = 3 %}{{ y }}{% endgeneration %}{{ y is defined }}{{ ns.x }}
{# {% generation %} #}{% raw %}{% generation %}{% endraw %}{{ '{% generation %}' }}
{{ messages | tojson }}|{{ messages[1:] | tojson }}|{{ messages[1] | tojson(indent=4) }}
{{ {'b': 1.0, 'a': [], 'c': {}, 'd': none, 1: true, 'e': 1e20, 'f': -0.5} | tojson }}|{{ (1, '2') | tojson }}|{{ true | tojson }}
{{ {'a': [1, {'b': 2}], 'c': []} | tojson(indent=2) }}|{{ [1, 2] | tojson(indent=0) }}|{{ [1] | tojson(indent='\t') }}
{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}|{{ {'b': [1, 2], 'a': 2} | tojson(indent=1, sort_keys=true) }}
{{ 'é🦀\x7f\x01\n</b>\\"' | tojson }}|{{ 'é🦀\x7f\x01\n</b>\\"' | tojson(true) }}|{{ 'é' | tojson(ensure_ascii=false) }}
{{ nope | tojson }}
{{ true }}{{ none }}{{ 1.0 }}|{{ 6 / 2 }}|{{ 7 // 2 }}|{{ 7 % 3 }}|{{ 0.1 + 0.2 }}|{{ 1e16 }}|{{ 1e-7 }}|{{ 2 ** 3 }}|{{ 9007199254740993 + 1 }}
{{ [1, 'a', none, true, "it's", 'say "it\'s"', {'k': [1.5]}] }}|{{ messages[0] }}|{{ messages[:1] }}|{{ {'a': '\n\té\x00'} }}
{{ 1 ~ 'a' ~ none ~ true ~ 1.5 ~ nope }}|{{ 'x' ~ messages[0] }}|{{ 'x' ~ messages }}|{{ [1, 'a'] | string }}|{{ [1.0, none] | join('|') }}
{{ '%s-%02d' % ('x', 5) }}|{{ '%s!' % messages[0].role }}|{{ "%s|%d" % (messages[0].role, 1 + 1) ~ 'x' }}|{{ '%(a)s' % {'a': 1} }}|{{ '%s %5.2f %x %%' | format('a', 2.5, 255) }}|{{ '%s' % [[1, 'a']] }}
{{ '{}:{}'.format('a', 1) }}|{{ '{1}{0} {x}'.format('a', [1, 'b'], x=none) }}|{{ '{:>5}{:.2f}'.format('a', 2.5) }}
{{ 'a.b.c'.rsplit('.', 1) }}{{ ' a  b c '.split(none, 1) }}{{ ' a  b c '.rsplit(None, 1) }}{{ ' a  b '.split() }}{{ 'a,b'.split(sep=',', maxsplit=-1) }}{{ ''.split() }}{{ ''.split(',') }}
{{ 'éabcabc'.find('c') }}{{ 'é1é'.rfind('é') }}{{ 'abc'.index('b') }}{{ 'abc'.find('z') }}{{ 'aaa'.count('') }}{{ 'aaa'.count('aa') }}
{{ "it's a 2nd test-case (x)".title() }}|{{ "it's a 2nd test-case (x)" | title }}|{{ 'aB cD'.capitalize() }}|{{ 'aB' | capitalize }}|{{ 'aBß'.swapcase() }}
{{ 'ab'.center(5) }}|{{ 'a'.center(4) }}|{{ 'ab' | center(7) }}|{{ '-7'.zfill(4) }}|{{ '7'.zfill(3) }}|{{ 'a'.rjust(3, '*') }}|{{ 'é'.ljust(3) }}|
{{ ''.isdigit() }}{{ '12'.isdigit() }}{{ 'a1'.isalnum() }}{{ 'A1'.isupper() }}{{ 'a b'.islower() }}{{ ' \t\x1c'.isspace() }}{{ 'Ab Cd'.istitle() }}{{ '1'.islower() }}{{ 'A1' is upper }}{{ '' is lower }}
{{ 'a\r\nb\x0cc\n'.splitlines() }}{{ 'a\nb'.splitlines(True) }}{{ 'a=b=c'.rpartition('=') | list }}{{ 'x'.partition('=') | list }}{{ 'x'.rpartition('=') | list }}
{{ 'abc'.removeprefix('a').removesuffix('c') }}{{ 'xxaxx'.strip('x') }}{{ '\x1f a \x1c'.strip() }}{{ '\x1f a ' | trim }}|{{ 'xax' | trim('x') }}{{ 'aaa'.replace('a', 'b', 1) }}{{ 'aaa' | replace('a', 'b', 2) }}{{ '-'.join(['a', 'b']) }}
{{ 'a\nb\n' | indent }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\n\nb' | indent('--', true) }}|{{ '' | indent }}|
{{ 'hello world foo bar' | truncate(9) }}|{{ 'hello world' | truncate(5, true, '', 0) }}|{{ 'hello world' | truncate(length=8, leeway=0) }}|{{ 'hello' | truncate(4) }}
{{ '<a href="x">\'&\'</a>' | e }}|{{ '<b>' | safe }}|{{ 'a b/c~é' | urlencode }}|{{ 'foo bar, b_z' | wordcount }}|{{ [1, 'a'] | pprint }}
{{ 2.5 | round }}|{{ 2.675 | round(2) }}|{{ 3 | round }}|{{ 7.1 | round(0, 'ceil') }}|{{ -7.1 | round(method='floor') }}|{{ 1234.5 | round(-2) }}|{{ -3 | abs }}
{{ true | int }}|{{ 'x' | int }}|{{ 'x' | int(5) }}|{{ ' 7 ' | int }}|{{ '7.9' | int }}|{{ 'ff' | int(base=16) }}|{{ 3.7 | int }}|{{ none | int }}|{{ 'x' | float }}|{{ '1' | float }}
{{ nope | length }}{{ nope | trim }}{{ nope | upper }}{{ nope | list }}{{ nope | join(',') }}{{ nope | first }}{{ nope | string }}{{ nope | items | list }}{{ nope ~ 'x' }}{{ not nope }}{{ nope or 'z' }}{{ nope == nope2 }}{{ nope == none }}
{{ messages[0].nope }}{{ messages[9] }}{{ messages[0]['nope'] is not defined }}{{ 'ab'[5] }}{{ [] | first }}{{ none | default('x') }}{{ none | default('x', true) }}{{ nope | default('d') }}
{{ nope.x }}
{{ nope[0] }}
{{ 'a' + 1 }}
{{ 'a' | nofilter }}
{{ [].append(1) }}
{{ raise_exception('no ' ~ 1) }}
{{ messages is sequence }}{{ messages[1:] is sequence }}{{ 'a' is sequence }}{{ messages[0] is sequence }}{{ 1 is sequence }}{{ none is iterable }}{{ nope is iterable }}{{ 'a' is iterable }}{{ 1 is iterable }}{{ messages[0] is mapping }}
{{ true is number }}{{ true is integer }}{{ 1 is number }}{{ 1.5 is float }}{{ range is callable }}{{ 'a' is callable }}{{ none is sameas none }}{{ 4 is divisibleby(2) }}
{{ 'role' in messages[0] }}{{ 'yes' in messages[2].content }}{{ 1 in [1.0] }}{{ none in [none] }}{{ 'z' not in 'abc' }}{{ true == 1 }}{{ [1] == [1.0] }}{{ {'b': 1} == {'b': 1.0} }}{{ 1 < 2 < 3 }}
{{ 'abc'[::-1] }}{{ 'abc'[-2:] }}{{ 'abc'[1] }}{{ [1, 2, 3][::2] }}{{ [1, 2, 3][-5:2] }}{{ 'abcdef'[1:-1:2] }}{{ [1, 2, 3][10:] }}{{ [1, 2, 3][:-1] }}{{ messages[-1].role }}
{{ messages[0].get('role') }}{{ messages[0].get('x', 'no') }}{{ messages[0].items() | map('join', '=') | list }}{{ messages[0].keys() | list }}{{ messages[0].copy() }}{{ [1, 2].index(2) }}{{ [1, 1].count(1) }}{{ messages[1:].count(1) }}
{{ messages | map(attribute='role') | list }}{{ messages | map(attribute='x', default='d') | list }}{{ messages | groupby('role') | map(attribute='grouper') | list }}{{ messages | selectattr('role', 'in', ['user']) | list | length }}{{ messages | join(', ', attribute='role') }}
{{ {'b': 1, 'a': 2} | dictsort | map('join', '=') | list }}{{ {'b': 1, 'a': 2} | list }}{{ [3, 1, 3] | unique | list }}{{ ['b', 'A'] | sort }}{{ [1, 2, 3] | batch(2, 0) | list }}{{ 'abc' | reverse }}{{ [1, 2] | sum }}{{ [3, 1] | max }}
{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b{% set c = cycler('x', 'y') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ dict(a=1, b=[2]) }}{{ range(5, 0, -2) | list }}
{% macro f(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f('x', b=none) | trim }}{% macro g() %}<{{ caller() }}>{% endmacro %}{% call g() %}in{% endcall %}{% set x %} a {{ 1 }}{% endset %}[{{ x }}]
{{- '\s\d\'\"\\ \x41\101\u00e9\t' }}{{ "a" 'b' "c" }}{{ 1_000 }}|{{ 'a' if false }}|{{ 'a\n' + 'b' }}
""".strip().splitlines()

LINES = """{% if messages[0]['role'] == 'system' %}
  {% set rest = messages[1:] %}
{% endif %}
  {# a comment #}
{{ rest | length }}
  {%+ if true %} kept{% endif %}\r
a {#- c -#} b {%- raw %} {{ x }} {% endraw -%}
 c
   {% generation %}
   {{ rest[0].role }}
   {% endgeneration %}
end

"""


def render(template, messages=MESSAGES, tools=None, variables=None):
    more = dict(SPECIAL, **(variables or {}))
    try:
        [text], _ = render_jinja_template(
            [messages], tools=tools, chat_template=template, add_generation_prompt=True, **more
        )
    except Exception:
        return None
    return text


def write(path, **golden):
    path.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


def families(templates):
    rendered = {
        name: dict(template=template, texts=[render(template, **conversation) for conversation in CONVERSATIONS])
        for name, template in templates.items()
    }
    return dict(special=SPECIAL, conversations=CONVERSATIONS, rendered=rendered)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", type=Path)
    parser.add_argument("templates", type=Path, nargs="*")
    arguments = parser.parse_args()
    if arguments.real:
        write(arguments.real / "chats.json", **families({path.name: path.read_text() for path in arguments.templates}))
        return
    rendered = [dict(template=template, text=render(template)) for template in [*TEMPLATES, LINES]]
    write(HERE / "templates.json", messages=MESSAGES, special=SPECIAL, rendered=rendered)
    write(HERE / "families.json", **families(FAMILIES))


if __name__ == "__main__":
    main()
