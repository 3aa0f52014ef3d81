"""How manifests are read from YAML: as kubectl does, and never larger than what is written.

Decides that dates and times stay text, that half of a surrogate pair is no text, and how many fields merge keys may
copy. The text of an error says nothing of what a file holds but its syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from hookline.events.strictjson import half_a_pair

MAX_MERGED_FIELDS = 10_000
"""Fields that the merge keys (`<<`) of one file may copy. Merged mappings that are merged again multiply."""

_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
# As PyYAML has them, but for 10:30: that is text for kubectl, and no number of base 60.
_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)\Z", re.ASCII),
    "tag:yaml.org,2002:float": re.compile(
        r"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z",
        re.ASCII,
    ),
}
# What PyYAML raises for a value that its tag does not fit, such as `!!bool maybe`, and Python for numbers too long.
_NO_SUCH_VALUE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Loader(yaml.SafeLoader):
    """Reads one file. Raises yaml.YAMLError, and RecursionError for what nests too deeply."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._merged_fields = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """What PyYAML calls to carry out the merge keys of a mapping."""
        for merged in list(_merged(node)):
            self.flatten_mapping(merged)
            self._merged_fields += len(merged.value)
            if self._merged_fields > MAX_MERGED_FIELDS:
                raise yaml.MarkedYAMLError(
                    problem=f"merge keys (<<) copy more than {MAX_MERGED_FIELDS} fields; write the fields out",
                    problem_mark=node.start_mark,
                )
        super().flatten_mapping(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """What PyYAML calls for every value."""
        try:
            return super().construct_object(node, deep)
        except _NO_SUCH_VALUE:
            problem = "a value that cannot be read as what it looks like, or as its tag says; put text in quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """What PyYAML calls for every text, number and name."""
        value = super().construct_scalar(node)
        if isinstance(value, str) and (problem := half_a_pair(value)):
            raise yaml.MarkedYAMLError(problem=f"a text {problem}", problem_mark=node.start_mark)
        return value


Loader.yaml_implicit_resolvers = {
    letter: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _merged(node: yaml.MappingNode) -> Iterator[yaml.MappingNode]:
    for key, value in node.value:
        if key.tag == _MERGE:
            several = value.value if isinstance(value, yaml.SequenceNode) else [value]
            yield from (each for each in several if isinstance(each, yaml.MappingNode))
