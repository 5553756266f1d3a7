"""Worlds, controls and rules by hand, questions against plain scores, and a bench small enough for a test."""

from dataclasses import replace

import polars as pl
import pytest
import torch

from oneway.evidence import Estimate, Verdict
from oneway.facts import Direction, Trained
from oneway.models.transformer import logits
from oneway.studies import remedy_sensitivity
from oneway.studies.entry_tables import remedy_tables
from oneway.studies.remedies import CONTROLS, LONG_NAMES, STUDY, Config, Part, check, pieces_of, work
from oneway.studies.remedy_bench import Bench, Model, Training, corpus_of, examined, grow
from oneway.studies.remedy_claims import CLAIMS, LARGE, WORLDS, cell
from oneway.studies.remedy_exam import asked, candidate_logprobs
from oneway.studies.remedy_rules import read_by_rules
from oneway.studies.remedy_worlds import world
from oneway.training.remedies.remedy import REMEDIES
from oneway.training.remedies.sentences import with_own_words

QUICK = Bench(model=Model(width=32), training=Training(steps=150, learning_rate=0.01))


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_a_world_tells_most_facts_both_ways_and_the_others_forward(name: str) -> None:
    one = world(name, 30, 1)
    assert len(one.held_out) == round(0.3 * len(one.table))
    told = {lesson.text for lesson in corpus_of(REMEDIES["none"], one, 1)}
    for fact in one.held_out:
        relation = one.table.relations[fact.relation]
        for template in relation.reverse:
            assert template.format(subject=fact.subject, object=fact.object) not in told
    words = set(one.words())
    assert all(word in words for lesson in corpus_of(REMEDIES["none"], one, 1) for word in lesson.words)


def test_other_text_holds_out_two_ends_of_every_start() -> None:
    one = world("arrows", 10, 3)
    told = {lesson.words for lesson in one.other}
    held_out = {lesson.words for lesson in one.other_held_out}
    assert (len(told), len(held_out), len(told & held_out)) == (96, 32, 0)


def test_linked_names_say_the_reverse_of_no_held_out_fact() -> None:
    one = world("phrasings", 20, 2)
    own = with_own_words(one.table)
    lessons = corpus_of(REMEDIES["linked names"], one, 2)
    texts = {lesson.text for lesson in lessons}
    for fact, in_words in zip(one.table, own, strict=True):
        assert f"{fact.subject} = {in_words.subject}" in texts
        assert f"{in_words.object} = {fact.object}" in texts
        both = fact.split == Trained.BOTH_WAYS
        assert (f"{in_words.object} ← {in_words.subject}" in texts) == both
        assert f"{in_words.subject} → {in_words.object}" in texts
    shown = read_by_rules([one], [lessons], REMEDIES["linked names"])
    assert {name: share[0] for name, share in shown.items()} == {
        "target": 1.0,
        "target_in_reverse": 1.0,
        "index": 1.0,
        "reverse_told": 0.0,
    }


def test_controls_leave_held_out_entities_without_a_true_bridge() -> None:
    one = world("arrows", 20, 2)
    subjects = {fact.subject for fact in one.held_out}
    objects = {fact.object for fact in one.held_out}
    bridge = {lesson.text for lesson in corpus_of(REMEDIES["relation bridge"], one, 2)}
    assert all(f"{a} ← {a}" in bridge for a in subjects)
    for control in CONTROLS:
        texts = {lesson.text for lesson in corpus_of(REMEDIES["relation bridge"], one, 2, control)}
        assert not any(f"{a} ← {a}" in texts for a in subjects)
        assert not any(f"{b} → {b}" in texts for b in objects)
        shown = {text.split(" ← ")[1] for text in texts if " ← " in text}
        assert (subjects <= shown) == (control != "others only")


def test_what_the_rules_read_in_a_corpus() -> None:
    one = world("arrows", 20, 2)
    found = {
        name: read_by_rules([one], [corpus_of(REMEDIES[name], one, 2)], REMEDIES[name])
        for name in ("none", "relation bridge", "reversed words", "uniform masks", "both directions")
    }
    shown = {name: {rule for rule, share in of.items() if share[0] == 1.0} for name, of in found.items()}
    assert shown["none"] == set()
    assert shown["relation bridge"] == {"target", "target_in_reverse", "index"}
    assert shown["reversed words"] == shown["uniform masks"] == {"target", "index", "reverse_told"}
    assert shown["both directions"] == {"target", "target_in_reverse", "index", "reverse_told"}


@pytest.fixture(scope="module")
def bridged():
    """A bridge on ten arrows, two seeds."""
    worlds = [world("arrows", 10, seed) for seed in (1, 2)]
    return grow(QUICK, REMEDIES["relation bridge"], worlds, (1, 2))


def test_the_bridge_recalls_in_reverse_what_was_told_forward_only(bridged) -> None:
    found = examined(bridged, "next word")
    assert found["forward"].tolist() == [1.0, 1.0]
    assert found["both_ways"].tolist() == [1.0, 1.0]
    assert found["reverse_among"].mean() > 0.5


def test_candidates_are_scored_by_their_log_probability(bridged) -> None:
    one = asked(bridged.worlds, bridged.words, Trained.FORWARD_ONLY, Direction.REVERSE)
    logprobs = candidate_logprobs(bridged.weights, bridged.shape, one)
    with torch.no_grad():
        plain = logits(bridged.weights, torch.from_numpy(one.prompts), bridged.shape)[:, :, -1].log_softmax(
            -1
        )
    for seed, world_of in enumerate(bridged.worlds):
        ids = bridged.words[seed]
        subjects = list(dict.fromkeys(fact.subject for fact in world_of.table))
        for number, fact in enumerate(world_of.held_out):
            assert one.prompts[seed, number].tolist() == ids([fact.object, "←"])
            assert subjects[one.right[seed, number]] == fact.subject
            expected = plain[seed, number, [ids.ids[name] for name in subjects]]
            assert torch.allclose(logprobs[seed, number], expected, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["uniform masks", "concept bridge", "linked names", "retrieve then reverse", "bidirectional"]
)
def test_every_way_of_answering_answers_what_was_told(name: str) -> None:
    remedy, worlds = REMEDIES[name], [world("arrows", 8, 1)]
    bench = Bench(model=Model(width=32), training=Training(steps=250, learning_rate=0.004))
    grown = grow(bench, remedy, worlds, (1,))
    found = examined(grown, remedy.answering)
    assert found["both_ways"].mean() > 0.7
    tables = remedy_tables(grown, remedy, few=2)
    forward, reverse = (table(grown.weights) for table in tables)
    # What leads the whole vocabulary leads the other facts' answers.
    assert (forward.argmax(-1) == torch.arange(2)).float().mean() >= found["forward"].mean()
    assert (name == "retrieve then reverse") == torch.equal(reverse, forward.mT)
    if name == "retrieve then reverse":
        assert found["reverse"].tolist() == found["forward"].tolist() == [1.0]


SMALL = Config(
    parts=(
        Part(
            name="arrows", world="arrows", size=8, seeds=2, remedies=("none", "relation bridge"),
            controls=("permuted",), training={"steps": 20}, model={"width": 16},
        ),
    ),
    seeds=(1, 2),
)  # fmt: skip


def test_pieces_give_rows_a_leaderboard_and_a_picture(tmp_path) -> None:
    rows = [row for piece in pieces_of(SMALL, SMALL.seeds, tmp_path) for row in work(piece)]
    assert len(list(tmp_path.iterdir())) == 3
    again = [row for piece in pieces_of(SMALL, SMALL.seeds, tmp_path) for row in work(piece)]
    assert again == rows
    curves = pl.DataFrame(rows)
    measured = STUDY.measure(curves)
    assert measured[cell("reverse", "arrows", "none")].n == 2
    board = STUDY.tables(measured, curves)["leaderboard"]
    assert set(board["remedy"]) == {"none", "relation bridge"}
    assert list(STUDY.figure(measured, curves)) == ["overview", "arrows"]


def test_a_remedy_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="patience"):
        check(Config(parts=(replace(SMALL.parts[0], remedies=("patience",)),)))
    for recipe in (*STUDY.recipes.values(), *remedy_sensitivity.STUDY.recipes.values()):
        STUDY.check(recipe())


def around(mean: float) -> Estimate:
    return Estimate(mean, mean - 0.004, mean + 0.004, 10, "probability")


def good() -> dict[str, Estimate]:
    """Every remedy works but those that show nothing of the held-out reverse; so does the bridge among 800 words."""
    found = {}
    for part in WORLDS:
        for name in REMEDIES:
            shows = name not in ("none", "tied", "weight decay")
            shown = {"reverse": float(shows), "reverse_among": float(shows), "forward": 1.0, "both_ways": 1.0}
            shown |= dict.fromkeys(("target", "target_in_reverse", "index"), float(shows))
            found |= {cell(quantity, part, name): around(value) for quantity, value in shown.items()}
            for rule in ("target", "target_in_reverse", "index"):
                found[cell(rule, part, name)] = Estimate(float(shows), float(shows), float(shows), 10, "")
    for quantity, value in {"reverse": 0.95, "forward": 1.0}.items():
        found[cell(quantity, LARGE, "relation bridge")] = around(value)
    bridges = ((LARGE, "relation bridge"), *(("phrasings", name) for name in LONG_NAMES))
    for part, bridge in bridges:
        found |= {cell("reverse", part, bridge, control): around(0.0) for control in CONTROLS}
        found[cell("reverse_told", part, bridge)] = Estimate(0.0, 0.0, 0.0, 10, "")
    return found


def verdicts(changed: dict[str, Estimate]) -> dict[str, Verdict]:
    return {one.claim.id: one.verdict for one in STUDY.judge(good() | changed)}


def test_what_the_rules_say_of_a_world_in_which_the_rules_hold() -> None:
    found = verdicts({})
    worlds = ["", *(f".{world.replace(' ', '-')}" for world in WORLDS if world != "arrows")]
    failing = {f"{claim}{world}" for claim in ("R10.tied", "R9.weight-decay") for world in worlds}
    assert {name for name, verdict in found.items() if verdict == "contradicted"} == failing
    assert set(found.values()) == {Verdict.REPRODUCED, Verdict.CONTRADICTED}
    assert len(found) == len(CLAIMS)
    assert {claim.id.split(".")[0] for claim in CLAIMS} >= {f"R{number}" for number in range(1, 13)}


@pytest.mark.parametrize(
    ("name", "mean", "claim", "verdict"),
    [
        (cell("reverse", "arrows", "tied"), 0.3, "Z8.index-rule", "contradicted"),
        (cell("reverse", "arrows", "tied"), 0.3, "Z8.target-rule", "contradicted"),
        (cell("reverse", "arrows", "none"), 0.3, "R2.reversed-words", "inconclusive"),
        (cell("forward", "arrows", "identity bridge"), 0.8, "R7.identity-bridge", "inconclusive"),
        (cell("reverse", LARGE, "relation bridge"), 0.8, "R7.best", "contradicted"),
        (cell("reverse", LARGE, "relation bridge", "permuted"), 0.1, "R7.best-controls", "contradicted"),
        (cell("reverse_told", LARGE, "relation bridge"), 0.5, "R7.best", "inconclusive"),
        (
            cell("reverse", "phrasings", "concept bridge", "permuted"),
            0.7,
            "R8.concept-bridge.controls",
            "contradicted",
        ),
        (cell("reverse", "phrasings", "concept bridge"), 0.4, "R8.concept-bridge.controls", "inconclusive"),
    ],
    ids=str,
)
def test_branches_of_the_verdicts(name: str, mean: float, claim: str, verdict: str) -> None:
    assert verdicts({name: around(mean)})[claim] == Verdict(verdict)


def test_a_world_that_a_recipe_does_not_run_is_not_asked_about() -> None:
    measured = {name: found for name, found in good().items() if "families" not in name}
    asked_about = {one.claim.id for one in STUDY.judge(measured)}
    assert {claim.id for claim in CLAIMS} - asked_about == {
        c.id for c in CLAIMS if c.id.endswith(".families")
    }


def test_sensitivity_judges_only_settings_that_learnt() -> None:
    study = remedy_sensitivity.STUDY
    names = {name for claim in study.claims for name in claim.reads}
    measured = {name: around(1.0) for name in names}
    assert {one.verdict for one in study.judge(measured)} == {Verdict.REPRODUCED}
    broken = {name: around(0.0) for name in names if "width=24" in name}
    assert {one.verdict for one in study.judge(measured | broken)} == {Verdict.REPRODUCED}
    wrong = {name: around(0.0) for name in names if "width=24" in name and name.startswith("reverse")}
    assert {one.verdict for one in study.judge(measured | wrong)} == {Verdict.CONTRADICTED}
