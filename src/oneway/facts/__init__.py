"""What is to be known: facts, relations, tables, readers, synthetic worlds, splits, rendering. No torch."""

from oneway.facts.fact import Direction, Fact, FactTable, Relation
from oneway.facts.problems import FactErrors, Problem, RelationsMissing
from oneway.facts.reading import FORMATS, read_facts
from oneway.facts.relations import read_relations, relations_stub
from oneway.facts.rendering import (
    ALL_DIRECTIONS,
    Question,
    TemplateError,
    forward_question,
    in_context_question,
    one_shot_prefixes,
    questions,
    reverse_question,
    sentence,
    unaskable,
)
from oneway.facts.shipped import SHIPPED, load_table, resolve

__all__ = [
    "ALL_DIRECTIONS",
    "FORMATS",
    "SHIPPED",
    "Direction",
    "Fact",
    "FactErrors",
    "FactTable",
    "Problem",
    "Question",
    "Relation",
    "RelationsMissing",
    "TemplateError",
    "forward_question",
    "in_context_question",
    "load_table",
    "one_shot_prefixes",
    "questions",
    "read_facts",
    "read_relations",
    "relations_stub",
    "resolve",
    "reverse_question",
    "sentence",
    "unaskable",
]
