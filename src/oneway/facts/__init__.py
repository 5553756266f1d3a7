"""What is to be known: facts, relations, tables, readers, synthetic worlds, splits, rendering. No torch."""

from oneway.facts.corpora import Sentence, entry, episode, episodes, one_shot_sentences, training_sentences
from oneway.facts.fact import Direction, Fact, FactTable, Relation
from oneway.facts.fictitious import Identities, identities, identity_texts
from oneway.facts.formats.opening import FORMATS
from oneway.facts.names import arbitrary_facts, arbitrary_names, invented_words, name_words, repaired_facts
from oneway.facts.people import athletes
from oneway.facts.problems import FactErrors, Problem, RelationsMissing
from oneway.facts.reading import read_facts
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
from oneway.facts.shipped import SHIPPED, load_relations, load_table, resolve
from oneway.facts.splits import Trained, by_direction, by_fact, training_directions
from oneway.facts.worlds import Arrows, arrows, families
from oneway.facts.writing import facts_lines, relations_toml

__all__ = [
    "ALL_DIRECTIONS",
    "FORMATS",
    "SHIPPED",
    "Arrows",
    "Direction",
    "Fact",
    "FactErrors",
    "FactTable",
    "Identities",
    "Problem",
    "Question",
    "Relation",
    "RelationsMissing",
    "Sentence",
    "TemplateError",
    "Trained",
    "arbitrary_facts",
    "arbitrary_names",
    "arrows",
    "athletes",
    "by_direction",
    "by_fact",
    "entry",
    "episode",
    "episodes",
    "facts_lines",
    "families",
    "forward_question",
    "identities",
    "identity_texts",
    "in_context_question",
    "invented_words",
    "load_relations",
    "load_table",
    "name_words",
    "one_shot_prefixes",
    "one_shot_sentences",
    "questions",
    "read_facts",
    "read_relations",
    "relations_stub",
    "relations_toml",
    "repaired_facts",
    "resolve",
    "reverse_question",
    "sentence",
    "training_directions",
    "training_sentences",
    "unaskable",
]
