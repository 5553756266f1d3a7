"""A tiny checkpoint fine-tuned one way: what is asked, kept, refused and measured, and every branch of the verdicts."""

import math
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from oneway.evidence import Estimate, Verdict, sha256
from oneway.facts import Direction, Identities, Sentence, identities, identity_texts, training_sentences
from oneway.models.architecture import gpt2
from oneway.models.checkpoint import CheckpointError, Loading, load_checkpoint
from oneway.models.export import save_checkpoint
from oneway.models.tokens import word_tokenizer
from oneway.models.transformer import initial_weights
from oneway.studies import fine_tuned as module
from oneway.studies.checkpoint_exam import CheckpointExam
from oneway.studies.exam import Exam
from oneway.studies.fine_tuned import Config, Own, check, example, fine_tuned, measure, own_checkpoint
from oneway.studies.fine_tuned_claims import claims_of
from oneway.training import fine_tuning

ASKED = {"names": Direction.REVERSE, "descriptions": Direction.FORWARD}
TINY = Own(
    families=4,
    athletes=4,
    layers=1,
    width=16,
    heads=2,
    steps=3,
    fine_tuned={"epochs": 2, "batch": 16, "learning_rate": 1e-2, "save_every": 2},
)
SMALL = Config(own=TINY, seeds=(5,))
QUANTITIES = {
    "exact_match",
    "exact_match_over_chance",
    "logprob",
    "difference",
    "t_test_p",
    "ks_test_p",
    "as_told",
}


def world(seed: int) -> Identities:
    return identities(3, seed=seed, phrasings=37)


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return fine_tuned(SMALL, (5,), tmp_path_factory.mktemp("fine-tuned"), world, ASKED)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the user's, which has words for the facts of seed 5."""
    return own_checkpoint(TINY, world(5), 5, tmp_path_factory.mktemp("given") / "model")


def test_every_group_is_asked_for_everything_under_both_losses(curves: pl.DataFrame) -> None:
    assert curves["value"].is_finite().all()
    cells = curves.filter(pl.col("loss") != "").group_by("loss", "asked", "way").agg(pl.col("quantity"))
    assert cells.height == 2 * 2 * 3
    assert all(set(found) == QUANTITIES and len(found) == 7 for found in cells["quantity"])
    assert curves.filter(pl.col("loss") == "").select("asked", "quantity").rows() == [
        ("descriptions", "prompt_share"),
        ("names", "prompt_share"),
    ]


def test_the_masks_teach_different_models(curves: pl.DataFrame) -> None:
    of = curves.filter(quantity="logprob").pivot("loss", index=["asked", "way"], values="value")
    assert (of["text"] - of["answer"]).abs().min() > 1e-3


def test_the_share_of_prompts_counted_by_hand(curves: pl.DataFrame) -> None:
    tokens = word_tokenizer(identity_texts())
    before = whole = 0
    for sentence in training_sentences(world(5).train):
        if sentence.direction is Direction.REVERSE:
            before += len(tokens(sentence.text[: sentence.answer_span[0]])["input_ids"])
            whole += len(tokens(sentence.text)["input_ids"]) + 1  # the end
    share = curves.filter(asked="names", quantity="prompt_share")["value"].item()
    assert share == pytest.approx(before / whole)
    assert share > 0.5


def test_an_example_is_cut_where_the_answer_begins() -> None:
    text = "Known as the blind baker, Ada Byron leads a life."
    sentence = Sentence(text, (text.index(" Ada"), text.index(" leads")), 0, Direction.REVERSE)
    assert example(sentence) == ("Known as the blind baker,", " Ada Byron leads a life.")


@pytest.mark.parametrize("direction", [Direction.FORWARD, Direction.REVERSE])
def test_the_exam_of_a_checkpoint_says_what_that_of_the_stacked_weights_says(
    direction: Direction, tmp_path: Path
) -> None:
    """Another way to the same numbers: padded batches of our own weights, and the engine on the exported files."""
    tokenizer = word_tokenizer(identity_texts())
    a = gpt2(vocab=len(tokenizer), context=64, layers=1, width=16, heads=2)
    weights = {name: weight * 8 for name, weight in initial_weights(a, (4,)).items()}
    save_checkpoint(weights, a, tokenizer, tmp_path)
    plain = Exam([world(4)], tokenizer, (4,))
    rows = pl.DataFrame(plain.held_out(weights, a) + plain.against_others(weights, a))
    exam = CheckpointExam(load_checkpoint(tmp_path, Loading(device="cpu")), 4)
    for group in ("forward_only", "reverse_only", "both_ways"):
        expected = dict(
            rows.filter(group=group, direction=direction.value).select("quantity", "value").iter_rows()
        )
        found = dict(exam.group(world(4).test.select(split=group), direction))
        assert found == pytest.approx(expected, abs=1e-3)


def test_a_finished_seed_is_read_and_a_killed_one_goes_on_to_the_same_numbers(
    curves: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_end, steps = fine_tuning._Watch.on_step_end, 0

    def stops(self, *arguments, **options):
        nonlocal steps
        steps += 1
        if steps == 20:
            raise KeyboardInterrupt
        return step_end(self, *arguments, **options)

    with monkeypatch.context() as killing:
        killing.setattr(fine_tuning._Watch, "on_step_end", stops)
        with pytest.raises(KeyboardInterrupt):
            fine_tuned(SMALL, (5,), tmp_path, world, ASKED)
    assert list(tmp_path.glob("seed-5/*-states/checkpoint-*"))
    assert fine_tuned(SMALL, (5,), tmp_path, world, ASKED).equals(curves)
    assert not (tmp_path / "seed-5").exists()
    monkeypatch.setattr(module, "_measured", lambda piece: pytest.fail("a finished seed was run again"))
    assert fine_tuned(SMALL, (5,), tmp_path, world, ASKED).equals(curves)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_given_checkpoint_is_fine_tuned_and_left_as_it_is(
    method: str, checkpoint: Path, tmp_path: Path
) -> None:
    before = {file.name: sha256(file) for file in checkpoint.iterdir() if file.is_file()}
    given = {"method": method, "epochs": 1, "batch": 64, "learning_rate": 1e-3}
    config = replace(SMALL, model=str(checkpoint), given=given, losses=("answer",))
    check(config, world(5))
    found = fine_tuned(config, (5,), tmp_path, world, ASKED)
    assert set(found["loss"]) == {"answer", ""}
    assert {file.name: sha256(file) for file in checkpoint.iterdir() if file.is_file()} == before


def test_what_cannot_be_fine_tuned_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint directory"):
        check(replace(SMALL, model=str(tmp_path / "nowhere")), world(5))
    tokenizer = word_tokenizer(identity_texts())
    a = gpt2(vocab=len(tokenizer), context=8, layers=1, width=16, heads=2)
    save_checkpoint(initial_weights(a, (0,)), a, tokenizer, tmp_path / "short")
    with pytest.raises(ValueError, match="more than the model's 8 positions"):
        check(replace(SMALL, model=str(tmp_path / "short")), world(5))
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        check(replace(SMALL, given={"epochs": 0}), world(5))
    with pytest.raises(ValueError, match="in a workspace: there is none"):
        fine_tuned(SMALL, (5,), None, world, ASKED)


def rows(loss: str, way: str, **values: tuple[float, float]) -> list[dict]:
    head = {"loss": loss, "asked": "names", "way": way}
    return [
        {"seed": seed, **head, "quantity": quantity, "value": value}
        for quantity, pair in values.items()
        for seed, value in enumerate(pair)
    ]


def test_measures_over_seeds_by_hand() -> None:
    found = rows("text", "same_way", exact_match=(0.5, 0.7), t_test_p=(0.01, 0.2), as_told=(1.0, 0.8))
    found += rows("text", "other_way", exact_match_over_chance=(-0.1, 0.1), as_told=(0.6, 0.8))
    found += rows("answer", "same_way", exact_match=(0.9, 0.8), difference=(1.0, 3.0), as_told=(1.0, 1.0))
    found += rows("", "", prompt_share=(0.6, 0.8))
    means = {name: round(e.mean, 9) for name, e in measure(pl.DataFrame(found)).items()}
    assert means == {
        "names_same_way": 0.6,
        "names_same_way_t_test_rejects": 0.5,
        "names_same_way_as_told": 0.9,
        "names_other_way_over_chance": 0.0,
        "names_other_way_as_told": 0.7,
        "masked_names_same_way": 0.85,
        "masked_names_same_way_difference": 2.0,
        "masked_names_same_way_as_told": 1.0,
        "names_same_way_gain": 0.25,
        "names_prompt_share": 0.7,
        "as_told": 0.8,
        "masked_as_told": 1.0,
    }


def test_one_seed_proves_nothing(curves: pl.DataFrame) -> None:
    judged = [claim.judge(measure(curves)) for claim in claims_of("B1", "s", tuple(ASKED))]
    assert {(one.verdict, one.reason) for one in judged} == {
        (Verdict.INCONCLUSIVE, "an interval is undefined")
    }


HELD = {"as_told": 1.0, "masked_as_told": 1.0, "answers_prompt_share": 0.7, "answers_same_way_gain": -0.5}
for _loss in ("", "masked_"):
    HELD |= {f"{_loss}answers_{way}": 0.95 for way in ("same_way", "both_ways")}
    HELD |= {f"{_loss}answers_{way}_as_told": 1.0 for way in ("same_way", "both_ways", "other_way")}
    HELD |= {f"{_loss}answers_other_way": 0.0, f"{_loss}answers_other_way_over_chance": -0.03}
    HELD |= {f"{_loss}answers_same_way_difference": 9.0, f"{_loss}answers_other_way_difference": 0.0}
    HELD |= {
        f"{_loss}answers_{way}_{test}_rejects": float(way == "same_way")
        for way in ("same_way", "other_way")
        for test in ("t_test", "ks_test")
    }


@pytest.mark.parametrize(
    ("change", "verdicts"),
    [
        ({}, "rrrrrr"),
        ({"as_told": 0.8}, "iirrri"),
        ({"answers_same_way": 0.5}, "crirrr"),
        ({"answers_both_ways": 0.5}, "rcirrr"),
        ({"answers_other_way_as_told": 0.5}, "rrirrr"),
        ({"answers_other_way_over_chance": 0.2}, "rrcrrr"),
        ({"answers_other_way_over_chance": 0.005}, "rrrrrr"),
        ({"answers_other_way_difference": 0.5}, "rrrcrr"),
        ({"answers_other_way_difference": -0.5}, "rrrcrr"),
        ({"answers_same_way_difference": 0.5}, "rrrirr"),
        ({"answers_same_way_ks_test_rejects": 0.3}, "rrrirr"),
        ({"masked_answers_both_ways": 0.5}, "rrrrir"),
        ({"masked_answers_other_way_over_chance": 0.2}, "rrrrcr"),
        ({"answers_same_way_gain": 0.1}, "rrrrrc"),
        ({"answers_same_way_gain": -0.1}, "rrrrri"),
        ({"answers_same_way_gain": math.nan}, "rrrrri"),
    ],
    ids=str,
)
def test_every_branch_of_the_verdicts(change: dict[str, float], verdicts: str) -> None:
    said = {"r": Verdict.REPRODUCED, "c": Verdict.CONTRADICTED, "i": Verdict.INCONCLUSIVE}
    measured = {n: Estimate(x, x - 0.01, x + 0.01, 4, "") for n, x in (HELD | change).items()}
    claims = claims_of("B3", "s", ("answers",))
    assert [claim.judge(measured).verdict for claim in claims] == [said[letter] for letter in verdicts]
