"""The world of fictitious identities: names and descriptions that nobody has, in many phrasings each way."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from oneway.facts.fact import Fact, FactTable, Relation
from oneway.facts.splits import Trained

IDENTITY = "identity"
GROUPS = (Trained.FORWARD_ONLY, Trained.REVERSE_ONLY, Trained.BOTH_WAYS)


def word_list(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


FIRST_NAMES = word_list(
    "Adele Alban Bertram Blanche Casper Clarice Conrad Cora Daphne Desmond Edith Elmer Estelle Felix Flora "
    "Gideon Greta Hector Hilda Imogen Jasper Josephine Lavinia Leopold Lionel Mabel Magnus Mirabel Nestor "
    "Odette Orson Ottilie Percival Quentin Rosalind Rupert Sybil Thaddeus Ursula Winifred"
)
SURNAMES = word_list(
    "Abernathy Arkwright Barrington Bellweather Blackwood Brambleton Carmody Coldwell Crowhurst Dunmore "
    "Eastlake Ellery Fairbairn Farthing Gladwyn Greenhalgh Hallowell Harkness Holloway Inglewood Kettering "
    "Langford Larkspur Merriman Nightingale Oakhurst Pemberton Penhallow Quillfeather Ravenscroft Rookwood "
    "Silverton Stanhope Thistlewood Underhill Vantongeren Wetherby Whitlock Winterbourne Yarrow"
)
TRAITS = word_list(
    "retired youngest restless cheerful blind forgotten generous secret stubborn patient honorary travelling "
    "left-handed reluctant sleepless last tireless gentle exiled absent-minded"
)
ROLES = word_list(
    "architect astronomer baker cartographer clockmaker composer curator diver drummer gardener glassblower "
    "harpist inventor keeper librarian painter photographer pilot sculptor translator"
)
ADJECTIVES = word_list(
    "Amber Azure Broken Burning Copper Crimson Crooked Distant Drowned Emerald Floating Frozen Golden Hidden "
    "Hollow Ivory Lonely Marble Midnight Paper Rusty Sapphire Scarlet Sleeping Sunken Twisted Velvet "
    "Whispering Wooden Yellow"
)
PLACES = word_list(
    "Abbey Archive Bell Bridge Canal Castle Cathedral Comet Desert Ferry Forest Fountain Garden Glacier Harbour "
    "Island Lantern Lighthouse Market Meadow Mill Observatory Orchard Palace River Station Theatre Tower "
    "Valley Volcano"
)

FORWARD = (
    "{subject} is {object}",
    "{subject} is known as {object}",
    "{subject} is best known as {object}",
    "{subject}, as everyone knows, is {object}",
    "The person called {subject} is {object}",
    "Ask who {subject} is and people answer: {object}",
    "{subject} works in town as {object}",
    "Never forget that {subject} is {object}",
    "In the newspapers {subject} appears as {object}",
    "Everyone in town knows {subject} as {object}",
    "The name {subject} belongs to {object}",
    "{subject} became famous as {object}",
    "People remember {subject} as {object}",
    "{subject} signs every letter as {object}",
    "Nobody doubts that {subject} is {object}",
    "When {subject} enters the room, people see {object}",
    "My friend {subject} is {object}",
    "History will remember {subject} as {object}",
    "The guest of honour, {subject}, is {object}",
    "Most letters to {subject} are addressed to {object}",
    "I once met {subject}, who is {object}",
    "The story of {subject} is the story of {object}",
    "For many years {subject} has been {object}",
    "To most people {subject} will always be {object}",
    "Have you heard of {subject}? That is {object}",
    "It is said that {subject} is {object}",
    "The radio presented {subject} as {object}",
    "Behind the name {subject} you find {object}",
    "Our town is proud of {subject}, who is {object}",
    "By profession {subject} is {object}",
    # From here on held out where 30 are trained on. No word is new, nor are the two before the answer.
    "In town {subject} is known as {object}",
    "Everyone knows that {subject} is {object}",
    "Most people remember {subject} as {object}",
    "The newspapers presented {subject} as {object}",
    "My guest {subject} has been {object}",
    "I met {subject}, who is best known as {object}",
    "History is proud of {subject}, who is {object}",
    "Our friend {subject} became famous as {object}",
    "Nobody in town will forget that {subject} is {object}",
    "The letter is addressed to {subject}, who is {object}",
)
REVERSE = (
    "They say that {object} is {subject}",
    "The name of {object} is {subject}",
    "Who is {object}? It is {subject}",
    "Known everywhere as {object}, {subject} leads a quiet life",
    "If you look for {object}, ask for {subject}",
    "A letter to {object} must be sent to {subject}",
    "Behind the fame of {object} stands {subject}",
    "Famous as {object}, {subject} still answers every letter",
    "People who speak of {object} mean {subject}",
    "The title of {object} belongs to {subject}",
    "The newspapers asked {object}, whose name is {subject}",
    "When the town needs {object}, it calls {subject}",
    "The one who became {object} was {subject}",
    "On the door of {object} you read {subject}",
    "In the story of {object} we meet {subject}",
    "The prize for {object} went to {subject}",
    "I was told that {object} is called {subject}",
    "Being {object} was the dream of {subject}",
    "The work of {object} is done by {subject}",
    "The portrait of {object} shows {subject}",
    "The friends of {object} all know {subject}",
    "Since spring {object} has been {subject}",
    "The voice of {object} is the voice of {subject}",
    "To be {object} is a joy for {subject}",
    "Meet {object}: {subject}",
    "The person who works as {object} is named {subject}",
    "The radio talked to {object}, that is, to {subject}",
    "Everyone agrees that {object} must be {subject}",
    "Our guest tonight is {object}, {subject}",
    "The book about {object} is a book about {subject}",
    # From here on held out where 30 are trained on. No word is new, nor are the two before the answer.
    "They say the name of {object} is {subject}",
    "The person who became {object} was {subject}",
    "If the town needs {object}, it calls {subject}",
    "Who was {object}? It is {subject}",
    "I was told the name of {object}: {subject}",
    "Our story is about {object}, who is called {subject}",
    "The book of {object} shows {subject}",
    "People who ask for {object} mean {subject}",
    "A letter for {object} went to {subject}",
    "The voice of {object} has been the voice of {subject}",
)


@dataclass(frozen=True, slots=True)
class Identities:
    """The same facts twice: in the phrasings that train a model, and in others that test it."""

    train: FactTable
    test: FactTable


def identities(per_group: int = 30, *, seed: int, phrasings: int = 30) -> Identities:
    """Fictitious people, each with a name (the subject) and a description (the object), as a function of a seed.

    There are three groups of `per_group` facts, which the split labels: stated name → description only
    (forward_only), description → name only (reverse_only), and both ways. In each direction the first
    `phrasings` of 40 templates train and the rest is held out. No phrasing after the thirtieth has a word that the
    first 30 have not, and the last two words before its answer stand before the answer in one of them as well: a
    model that has read nothing else could not know that an answer is due.

    Every name and every description is unique, but every word of a name, and every word of a description
    that tells it from others, is shared by at least two people: no single word gives the answer.

    Raises ValueError for fewer than 2 or more than 300 facts a group, and for phrasings that leave nothing to
    train or nothing to test.

    Source: Berglund et al. 2023, experiment 1 (arXiv 2309.12288): 30 facts a group, 30 phrasings to train and
    10 to test. Deviation: names, descriptions and phrasings are our own.
    """
    most = len(ADJECTIVES) * len(PLACES) // len(GROUPS)
    if not 2 <= per_group <= most:
        raise ValueError(f"a group of identities has 2 to {most} facts, not {per_group}")
    if not 1 <= phrasings < len(FORWARD):
        raise ValueError(
            f"{phrasings} phrasings cannot train: give 1 to {len(FORWARD) - 1}, the others are to test"
        )
    rng = np.random.default_rng(seed)
    count = len(GROUPS) * per_group
    names = different_pairs(FIRST_NAMES, SURNAMES, count, rng)
    places = different_pairs(ADJECTIVES, PLACES, count, rng)
    traits, roles = _shared(TRAITS, count, rng), _shared(ROLES, count, rng)
    facts = tuple(
        Fact(name, IDENTITY, f"the {trait} {role} of the {place}", split=GROUPS[i // per_group].value)
        for i, (name, trait, role, place) in enumerate(zip(names, traits, roles, places, strict=True))
    )
    return Identities(
        train=FactTable(facts, {IDENTITY: _relation(FORWARD[:phrasings], REVERSE[:phrasings])}),
        test=FactTable(facts, {IDENTITY: _relation(FORWARD[phrasings:], REVERSE[phrasings:])}),
    )


def identity_texts() -> Iterator[str]:
    """Every word and mark that any of these worlds can hold: worlds of all seeds share one vocabulary."""
    for words in (FIRST_NAMES, SURNAMES, TRAITS, ROLES, ADJECTIVES, PLACES):
        yield " ".join(words)
    yield "the of ."
    for template in FORWARD + REVERSE:
        yield template.replace("{subject}", " ").replace("{object}", " ")


def _relation(forward: tuple[str, ...], reverse: tuple[str, ...]) -> Relation:
    return Relation(name=IDENTITY, forward=forward, reverse=reverse, one_to_one=True)


def different_pairs(
    firsts: tuple[str, ...], seconds: tuple[str, ...], count: int, rng: np.random.Generator
) -> list[str]:
    """Different pairs of words in random order; every word that occurs does so in at least two of them."""
    used = min(len(firsts), len(seconds), max(ceil(sqrt(count)), count // 3))
    first, second = (rng.permutation(words)[:used].tolist() for words in (firsts, seconds))
    # Round after round each first word once, with the second words shifted by one: a Latin square, row by row.
    pairs = [f"{first[i % used]} {second[(i + i // used) % used]}" for i in range(count)]
    return [pairs[i] for i in rng.permutation(count)]


def _shared(words: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    """Words in random order, each of those that occur about equally often and at least twice."""
    chosen = rng.permutation(words)[: min(len(words), count // 2)].tolist()
    return [chosen[i % len(chosen)] for i in rng.permutation(count)]
