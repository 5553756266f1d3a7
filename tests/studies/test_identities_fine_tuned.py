"""The study's claims and recipes; the machinery is tested in test_fine_tuned, the claims' branches too."""

import pytest

from oneway.facts import identities
from oneway.studies.identities_fine_tuned import ASKED, STUDY


def test_its_claims_are_of_names_and_descriptions() -> None:
    assert [claim.id for claim in STUDY.claims] == [
        "B1.fine-tuned-same-direction",
        "B1.fine-tuned-both-ways",
        "B1.fine-tuned",
        "B1.fine-tuned-logprob-names",
        "B1.fine-tuned-logprob-descriptions",
        "B1.fine-tuned-masked",
        "B1.fine-tuned-loss-mask",
    ]
    assert set(ASKED) == {"names", "descriptions"}


@pytest.mark.parametrize("recipe", ["quick", "standard", "untied", "paper"])
def test_every_recipe_keeps_the_published_numbers_of_facts_and_phrasings(recipe: str) -> None:
    config = STUDY.config(recipe)
    world = identities(seed=config.seeds[0])
    assert len(world.train) == 90
    assert len(world.train.relations["identity"].reverse) == 30
    assert len(config.seeds) >= 3
    assert config.losses == ("text", "answer")
