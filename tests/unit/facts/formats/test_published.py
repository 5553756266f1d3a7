"""Small files in exactly the published forms, invented names; each is read without a flag."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneway.facts import Direction, FactErrors, FactTable, questions, read_facts, unaskable

PUBLISHED = Path(__file__).parents[1] / "published"


def said(table: FactTable) -> set[tuple[str, str, str]]:
    return {(fact.subject, fact.relation, fact.object) for fact in table}


def complaint(path: Path, content: str) -> tuple[int, str]:
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FactErrors) as error:
        read_facts(path)
    (problem,) = error.value.problems
    assert problem.file == str(path)
    return problem.line, problem.reason


def test_counterfact_is_what_is_true_with_all_prompts_of_its_relation() -> None:
    table = read_facts(PUBLISHED / "counterfact.json")
    assert said(table) == {
        ("Aldo Merrin", "P103", "Frisian"),
        ("Bette Lorne", "P103", "Frisian"),
        ("Moon over Kapal", "P495", "Lusania"),
        ("Casimir Dœring", "P103", "Breton"),
    }
    assert table.relations["P103"].forward == (
        "The mother tongue of {subject} is {object}",
        "{subject} is a native speaker of {object}",
    )
    lines = (PUBLISHED / "counterfact.json").read_text().splitlines()
    places = [int(fact.source.rpartition(":")[2]) for fact in table]
    assert [lines[place] for place in places] == [f'        "case_id": {case},' for case in (0, 1, 2, 3)]
    repeated = next(note for note in table.notes if "kept once" in note)
    assert "counterfact.json:118 as line 2" in repeated
    assert any("not read: case_id, " in note and "target_new" in note for note in table.notes)
    asked = list(questions(table))
    assert (asked[0].prompt, asked[0].answer) == ("The mother tongue of Aldo Merrin is", " Frisian")
    assert {name for name, _ in unaskable(table)} == {"P103", "P495"}


def test_known_facts_are_worded_by_the_prompt_that_the_attribute_follows() -> None:
    table = read_facts(PUBLISHED / "known_1000.json")
    asked = {question.prompt: question.answer for question in questions(table)}
    documents = json.loads((PUBLISHED / "known_1000.json").read_text())
    assert asked == {document["prompt"]: f" {document['attribute']}" for document in documents}
    assert table.relations["P127"].forward == ("{subject} is owned by {object}",)


def test_popqa_has_the_question_as_template_and_answers_and_names_as_sets() -> None:
    table = read_facts(PUBLISHED / "popqa.tsv")
    orrin = table.facts[0]
    assert (orrin.subject, orrin.relation, orrin.object) == ("George Orrin", "occupation", "politician")
    assert orrin.aliases == ("political leader", "polit.")
    assert orrin.subject_aliases == ("George James Orrin",)
    first = next(questions(table))
    assert (first.prompt, first.answer) == ("Q: What is George Orrin's occupation? A:", " politician")
    # Two rows say it, with different aliases: one fact with all of them. A third gives a second director.
    film = ("Moon over Kapal", "director")
    assert table.objects_of[film] == ("Orlo Venn", "O. Venn", "Venn", "Pia Stroud")
    assert table.subjects_of["Orlo Venn", "director"] == (
        "Moon over Kapal",
        "Kapal Moon",
        "Moon Over Kapal",
        "Kapal",
    )
    assert any("popqa.tsv:7 as line 4" in note for note in table.notes)
    # "Who was the director of Who?" cannot teach its template, but is asked with the others' one.
    prompts = [question.prompt for question in questions(table, [Direction.FORWARD])]
    assert "Q: Who was the director of Who? A:" in prompts
    assert table.relations["director"].forward == ("Q: Who was the director of {subject}? A: {object}",)


def test_celebrities_are_asked_both_ways_and_a_parent_has_several_children() -> None:
    table = read_facts(PUBLISHED / "parent_child_pairs.csv")
    assert ("Zoë Quill-O'Hara", "father", "Quill, Sr.") in said(table)
    assert ("Orlo Venn", "mother", "Una Venn") in said(table)
    assert Counter(fact.relation for fact in table) == {"mother": 3, "father": 3}
    assert table.subjects_of["Marit Torvald", "mother"] == ("Ida Torvald", "Finn Torvald")
    asked = [(q.prompt, q.answer) for q in questions(table)][:3]
    assert asked == [
        ("Ida Torvald's mother is", " Marit Torvald"),
        ("Marit Torvald is the mother of", " Ida Torvald"),
        ("Ida Torvald's mother is Marit Torvald. Marit Torvald is the mother of", " Ida Torvald"),
    ]
    assert not any(relation.one_to_one for relation in table.relations.values())
    assert any("GPT-4" in note and "can_reverse" in note for note in table.notes)
    assert any("parent_child_pairs.csv:7 as line 4" in note for note in table.notes)


def test_prompts_and_completions_are_asked_as_they_are() -> None:
    path = PUBLISHED / "completions.jsonl"
    written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    table = read_facts(path)
    asked = list(questions(table))
    assert [q.prompt + q.answer for q in asked] == [w["prompt"] + w["completion"] for w in written[:-1]]
    assert (asked[1].prompt, asked[1].answer) == ('Q: Who composed "Tidal Hymns"?\nA:', " Edric Vane")
    assert asked[2].prompt.endswith("bells,\n")
    assert (asked[3].prompt, asked[3].answer) == ("海の町の長は", "山田花子")
    assert any("completions.jsonl:7 as line 2" in note for note in table.notes)


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)) | st.sampled_from("\n\t ")).filter(
    lambda text: text.strip() and not set(text) & {"\ufeff", "\ufffd"}
)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6, unique=True))
@settings(max_examples=60, deadline=None)
def test_any_prompt_and_completion_come_out_unchanged(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("completions") / "f.jsonl"
    lines = (json.dumps({"prompt": prompt, "completion": completion}) for prompt, completion in pairs)
    path.write_text("\n".join(lines))
    asked = [q.prompt + q.answer for q in questions(read_facts(path))]
    whole = [prompt + completion for prompt, completion in pairs]
    # Texts that differ in their Unicode form only, or where the seam is, are the same fact.
    assert set(asked) <= set(whole)
    assert asked[0] == whole[0]
    if len(set(whole)) == len(whole) and all(text.isascii() for text in whole):
        assert asked == whole


def test_a_directory_of_lre_relations() -> None:
    table = read_facts(PUBLISHED / "lre")
    assert set(table.relations) == {
        "city in country",
        "person mother",
        "fruit inside color",
        "name gender",
        "word emoji",
    }
    assert ("São Brenno", "city in country", "Lusania") in said(table)
    assert ("Zoë Quill", "person mother", "Renée Quill") in said(table)
    assert {("joy", "word emoji", "😀"), ("fire", "word emoji", "🔥")} <= said(table)
    # Many to one: any of them is right in reverse.
    assert table.subjects_of["Lusania", "city in country"] == ("São Brenno", "Kapal")
    assert table.subjects_of["Marit Torvald", "person mother"] == ("Ida Torvald", "Finn Torvald")
    decoded = next(note for note in table.notes if "escaped twice" in note)
    assert decoded.startswith("6 times")  # two names of São Brenno, two of the Quills, two signs
    kept = next(note for note in table.notes if "kept once" in note)
    assert kept.startswith("2 times")
    assert "city_in_country.json:29 as line 21" in kept
    assert "name_gender.json:24 as line 16" in kept
    assert len(table) == 14


def test_files_beside_lre_relations_are_said(tmp_path: Path) -> None:
    lre = json.loads((PUBLISHED / "lre" / "linguistic" / "word_emoji.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps(lre))
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "._a.json").write_bytes(b"\x00\x05\x16\x07")
    table = read_facts(tmp_path)
    assert any(".json files only; not read (._a.json, README.md)" in note for note in table.notes)


def test_half_of_a_surrogate_pair_is_named(tmp_path: Path) -> None:
    lre = json.loads((PUBLISHED / "lre" / "linguistic" / "word_emoji.json").read_text())
    lre["samples"] = [{"subject": "\\ud83d", "object": "x"}]
    line, reason = complaint(tmp_path / "f.json", json.dumps(lre))
    assert line == 1
    assert "U+D83D" in reason


def test_what_is_wrong_in_published_files_is_named(tmp_path: Path) -> None:
    popqa = (PUBLISHED / "popqa.tsv").read_text(encoding="utf-8")
    line, reason = complaint(tmp_path / "a.tsv", popqa.replace("What is Bette Lorne's", "What is her"))
    assert (line, "does not name its subject 'Bette Lorne'" in reason) == (3, True)
    line, reason = complaint(tmp_path / "b.tsv", popqa.replace('"[""lens grinder""]"', "lens grinder"))
    assert (line, "possible_answers must be a JSON list" in reason) == (3, True)
    celebrities = (PUBLISHED / "parent_child_pairs.csv").read_text(encoding="utf-8")
    line, reason = complaint(tmp_path / "c.csv", celebrities.replace("mother,,", "aunt,,"))
    assert (line, "unknown relation 'aunt'" in reason) == (8, True)
    counterfact = (PUBLISHED / "counterfact.json").read_text(encoding="utf-8")
    line, reason = complaint(tmp_path / "d.json", counterfact.replace("{} was created", "it was created"))
    assert (line, "must hold {} exactly once" in reason) == (60, True)
    line, reason = complaint(tmp_path / "e.json", counterfact.replace('"str": "Lusania"', '"str": 3'))
    assert (line, "target_true.str is missing or not a text" in reason) == (60, True)
    known = (PUBLISHED / "known_1000.json").read_text(encoding="utf-8")
    line, reason = complaint(tmp_path / "f.json", known.replace('"subject": "Beacon', '"subject": "The'))
    assert (line, "does not name its subject 'The Radio'" in reason) == (11, True)
    line, reason = complaint(
        tmp_path / "g.jsonl", '{"prompt": "a", "completion": " b"}\n{"prompt": " ", "completion": "c"}\n'
    )
    assert (line, reason) == (2, "subject is empty")


def test_a_toml_gives_published_relations_their_reverse(tmp_path: Path) -> None:
    toml = tmp_path / "r.toml"
    toml.write_text('[director]\nreverse = ["{object} directed {subject}"]\n')
    table = read_facts(PUBLISHED / "popqa.tsv", toml)
    assert table.relations["director"].forward == ("Q: Who was the director of {subject}? A: {object}",)
    assert table.relations["director"].reverse == ("{object} directed {subject}",)


@pytest.mark.parametrize("name", ["popqa.tsv", "parent_child_pairs.csv"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_any_form_is_read_from_any_container(tmp_path: Path, name: str, suffix: str) -> None:
    import csv

    import polars as pl

    with (PUBLISHED / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t" if name.endswith(".tsv") else ","))
    path = tmp_path / f"f{suffix}"
    if suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    assert said(read_facts(path)) == said(read_facts(PUBLISHED / name))


@pytest.mark.parametrize("layout", ["lines", "list"])
def test_several_lre_relations_in_one_file(tmp_path: Path, layout: str) -> None:
    documents = [
        {
            "name": f"r{i}",
            "prompt_templates": [f"{i}: {{}} is"],
            "samples": [{"subject": "a", "object": str(i)}],
        }
        for i in range(3)
    ]
    path = tmp_path / {"lines": "lre.jsonl", "list": "lre.json"}[layout]
    lines = [json.dumps(document) for document in documents]
    path.write_text(
        "\n".join(lines) if layout == "lines" else "[" + ",\n".join(lines) + "]", encoding="utf-8"
    )
    table = read_facts(path)
    assert said(table) == {("a", f"r{i}", str(i)) for i in range(3)}
    assert [fact.source for fact in table] == [f"{path.name}:{line}" for line in (1, 2, 3)]
    assert table.relations["r2"].forward == ("2: {subject} is {object}",)
