"""The commands as Python calls: `oneway.audit`, `augment`, `check`, `compare`, `compile`, `grade`, `repair`, …"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from oneway.compiler import Compiled, Grade
    from oneway.engine import Proof
    from oneway.evidence import RunRecord
    from oneway.facts import FactTable
    from oneway.models.checkpoint import Dtype, Source
    from oneway.recall.asking import AuditConfig
    from oneway.recall.compare import Comparison
    from oneway.recall.differences import Audited
    from oneway.recall.result import AuditResult
    from oneway.remedies import Augmented
    from oneway.report import Run
    from oneway.studies.dissecting import Dissected, Prepared
    from oneway.studies.repairing import Repaired
    from oneway.training.teach import Course, Taught, Teaching


def audit(
    model: "Source",
    facts: "str | Path | FactTable",
    config: "AuditConfig | None" = None,
    *,
    relations: str | Path | None = None,
    device: str = "auto",
    dtype: "Dtype" = "auto",
    weights: str = "",
    base: str = "",
    out: str | Path | None = None,
) -> "AuditResult":
    """Which of these facts a model recalls: forward, in reverse, or only in context.

    `model`: a checkpoint directory, a LoRA adapter's, a hub name, or a (model, tokenizer) pair. `facts`: a file,
    the name of a shipped table, or a table. `device`, `dtype`, `weights` and `base` say how the model is read,
    see `oneway.models.checkpoint.Loading`. With `out` it is a run in that folder, see `audit_run`; without,
    nothing is written. See `oneway.recall.audit.audit`.
    """
    table = _table(facts, relations)  # before the heavy imports: what is wrong with a file is said at once
    from oneway.models.checkpoint import Loading, load_checkpoint
    from oneway.recall.audit import audit as ask

    checkpoint = load_checkpoint(model, Loading(device=device, dtype=dtype, weights=weights, base=base))
    return ask(checkpoint, table, config) if out is None else audit_run(checkpoint, table, config, out=out)[0]


def audit_run(
    model: "Source",
    facts: "str | Path | FactTable",
    config: "AuditConfig | None" = None,
    *,
    relations: str | Path | None = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> "tuple[AuditResult, Path]":
    """`audit` as a run with a folder (by default a new one under runs/audit), which is returned too.

    Killed at any moment, the same call continues and ends with the same numbers; where `out` holds the finished
    audit of this very question, its result is returned. What is wrong with facts or model is said before
    anything is written. Raises RunError and WriteError as `open_run` does.
    """
    table = _table(facts, relations)
    from oneway.recall.audit import prepare
    from oneway.recall.result import AuditResult
    from oneway.runs.unfinished import open_run

    prepared = prepare(model, table, config, device=device)
    asked = {"audit": prepared.identity}
    with open_run(Path("runs"), "audit", asked, None if out is None else Path(out)) as directory:
        workspace = directory.file("workspace")
        if not directory.finished:
            result = prepared.ask(workspace)
            result = replace(result, record=replace(result.record, run_id=directory.path.resolve().name))
            result.save(directory.path)
        else:
            result = AuditResult.load(directory.path, table)
        rmtree(workspace, ignore_errors=True)
    return result, directory.path


def check(model: "Source", *, device: str = "auto") -> "Proof":
    """Does the engine support this checkpoint? Shown on a few tokens: logits equal to the plain model's, every site's
    shape, and that editing every site at every layer changes the logits.

    `model`: a checkpoint directory, a hub name, or a (model, tokenizer) pair. `proof.holds` says whether it does,
    `proof.cannot` what an architecture that the engine does not know is not offered. See `oneway.engine`.
    """
    from oneway.engine import prove_model

    return prove_model(model, device=device)[1]


def compare(
    before: "str | Path | Audited", after: "str | Path | Audited", *, out: str | Path | None = None
) -> "Comparison":
    """Two audits fact by fact: which facts were gained, lost, turned around.

    `before` and `after`: the folders of audits, or what `audit` returned. With `out` it is a run in that folder,
    see `compare_run`; without, nothing is written. See `oneway.recall.compare.compare`.
    """
    if out is not None:
        return compare_run(before, after, out)[0]
    from oneway.recall.compare import compare as set_side_by_side

    sides = [_finished(side) if isinstance(side, str | Path) else side for side in (before, after)]
    return set_side_by_side(*sides)


def compare_run(
    before: "str | Path | Audited", after: "str | Path | Audited", out: str | Path | None = None
) -> "tuple[Comparison, Path]":
    """`compare` as a run with a folder (by default a new one under runs/compare), which is returned too.

    What cannot be compared is said before anything is written. Raises RunError and WriteError as `open_run` does.
    """
    found = compare(before, after)
    from oneway.evidence.record import code_version
    from oneway.runs.unfinished import open_run

    asked = {"compare": found.record.config, "tables": found.record.data, "code": code_version()}
    with open_run(Path("runs"), "compare", asked, None if out is None else Path(out)) as directory:
        if directory.finished:
            record = directory.read_record()
        else:
            record = replace(found.record, run_id=directory.path.resolve().name)
            replace(found, record=record).save(directory.path)
    return replace(found, record=record), directory.path


def augment(
    facts: "str | Path | FactTable",
    out: str | Path,
    *,
    remedy: str,
    relations: str | Path | None = None,
    audit: "str | Path | AuditResult | None" = None,
    model: str | None = None,
    **options: Any,
) -> "Augmented":
    """Training text in `out`, a line an example, that makes recall of these facts reversible.

    `remedy`: one of `oneway.remedies.REMEDIES`. `audit`: the folder of an audit of these facts, or what `audit`
    returned; facts that it found known both ways are left out. `model`: a checkpoint directory or a hub name, by whose
    tokenizer the cost is counted. `options`: form ("text", "prompt-completion", "chat"), split (the label of the facts
    that the remedy is for), seed, segment (the most words of one in reverse-segments). Raises ValueError for what
    cannot be, before anything is written; WriteError where the file cannot be. See `oneway.remedies.writing.augment`.
    """
    table = _table(facts, relations)
    from oneway.remedies import Augmentation
    from oneway.remedies import augment as write

    if unknown := options.keys() - {"form", "split", "seed", "segment"}:
        raise ValueError(f"augment has no option {min(unknown)!r}")
    tokens = None
    if model is not None:
        from oneway.models.checkpoint import load_tokenizer

        tokenizer = load_tokenizer(model)

        def tokens(texts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    if audit is not None:
        from oneway.recall.rows import not_known_both_ways

        rows = _finished(audit).rows if isinstance(audit, str | Path) else audit.rows
        table = not_known_both_ways(table, rows)
    return write(table, Path(out), Augmentation(remedy=remedy, **options), tokens=tokens)


def train(
    facts: "str | Path | FactTable", out: str | Path, *, relations: str | Path | None = None, **options: Any
) -> "Taught":
    """A small model that knows these facts, as a Hugging Face checkpoint in `out`.

    `options`: any field of `Teaching` and of its parts by name (steps, layers, width, heads, style, tokens,
    loss, seed, episodes, learning_rate, …). Killed at any moment, the same call continues and ends with the
    same weights; where `out` holds what this very call made before, that is returned. Raises ValueError for
    options that cannot be, before anything is written; RunError and WriteError as `open_run` does. See
    `oneway.training.teach.teach`.
    """
    table = _table(facts, relations)
    from oneway.training.teach import Teaching, prepare

    return _taught(prepare(table, _configured(Teaching(), options)), Path(out))


def grow(out: str | Path, world: str = "athletes", *, seed: int = 0, **options: Any) -> "Taught":
    """The default model, a checkpoint in `out`, with the facts of its world beside it: facts.jsonl, relations.toml.

    World and recipe are those of the seed; `options` change the recipe, as those of `train` do. Raises ValueError for a
    world that is not there, and what `train` raises. See `oneway.training.default_model`.
    """
    from oneway.evidence.atomic import write_text
    from oneway.facts import facts_lines, relations_toml
    from oneway.training.default_model import WORLDS
    from oneway.training.teach import prepare

    if world not in WORLDS:
        raise ValueError(f"there is no world {world!r}; there are: {', '.join(WORLDS)}")
    facts, recipe = WORLDS[world]
    table = facts(seed)
    taught = _taught(prepare(table, _configured(recipe(seed), options)), Path(out))
    write_text(taught.checkpoint / "facts.jsonl", facts_lines(table))
    write_text(taught.checkpoint / "relations.toml", relations_toml(table.relations.values()))
    return taught


def _taught(course: "Course", out: Path) -> "Taught":
    """A course followed in the run's folder `out`, or what it made there before."""
    from oneway.evidence.record import code_version
    from oneway.runs.unfinished import open_run
    from oneway.training.teach import WORKSPACE, Taught, follow

    asked = {"train": asdict(course.teaching), "facts": course.facts, "code": code_version()}
    with open_run(Path("runs"), "train", asked, out) as directory:
        if not directory.finished:
            taught = follow(course, directory.path)
        else:
            record = directory.read_record()
            curves = directory.read_table(record.tables["curves"])
            taught = Taught(directory.path, course.teaching, record, curves)
        rmtree(directory.file(WORKSPACE), ignore_errors=True)
    return taught


def compile(
    facts: "str | Path | FactTable", out: str | Path, *, relations: str | Path | None = None, **options: Any
) -> "Compiled":
    """A checkpoint in `out` whose weights were written from a table, with `circuit.json`, which says how it answers.

    `options`: mechanism ("neuron-per-fact", "single-step", "hash-and-lookup", "partial-hash", "attention-lookup"),
    architecture ("gpt2" or "neox"), directions ("forward", "both-ways" or "shared-entry") and any field of `Capacity`
    (positions, width, neurons, neurons_per_fact, margin, seed, noise, decoys). Raises CompileError, a ValueError, where
    the table does not fit; nothing is written then. See `oneway.compiler.build.compile_table`.
    """
    table = _table(facts, relations)
    from oneway.compiler import Capacity, compile_table

    sizes = {field.name for field in fields(Capacity)}
    capacity = Capacity(**{name: value for name, value in options.items() if name in sizes})
    others = {name: value for name, value in options.items() if name not in sizes}
    unknown = others.keys() - {"mechanism", "architecture", "directions"}
    if unknown:
        raise ValueError(f"compile has no option {min(unknown)!r}")
    for name, value in others.items():
        _check_choice(compile_table, name, value)
    return compile_table(table, Path(out), capacity=capacity, **others)


def repair(
    model: "Source",
    facts: "str | Path | FactTable",
    *,
    remedy: str,
    out: str | Path,
    relations: str | Path | None = None,
    phrasings: str | Path | None = None,
    text: str | Path | None = None,
    keep: str | Path | None = None,
    candidates: int = 200,
    device: str = "auto",
    **options: Any,
) -> "Repaired":
    """Teach a checkpoint the text of a remedy; a run in the folder `out`, with what was gained and lost fact by fact.

    `model` and `facts` as for `audit`, `remedy` as for `augment`. `phrasings`: a TOML with the same relations in other
    words, which are asked before and after but not taught. `text`: other text, a line each, whose loss is measured (by
    default a shipped sample); `keep`: text, a line each, that is taught beside the facts so that it is kept.
    `candidates`: as for `audit`; asking many takes longer than teaching a small model. `options`: any field of
    `FineTuning` (method, loss, epochs, batch, learning_rate, weight_decay, rank, seed, save_every), split and segment.
    Killed at any moment, the same call continues; the source is never written to. Raises ValueError for what cannot be,
    before anything is written; RunError and WriteError as `open_run` does. See `oneway.studies.repairing`.
    """
    table = _table(facts, relations)
    from oneway.facts import read_relations
    from oneway.recall.asking import AuditConfig
    from oneway.remedies import Augmentation
    from oneway.runs.unfinished import open_run
    from oneway.studies.repairing import RepairConfig, lines_of, prepare_repair, sample
    from oneway.training.fine_tuning import FineTuning

    own = {field.name for field in fields(FineTuning)}
    if unknown := options.keys() - own - {"split", "segment"}:
        raise ValueError(f"repair has no option {min(unknown)!r}")
    for name in options.keys() & own:
        _check_choice(FineTuning, name, options[name])
    taught = {name: value for name, value in options.items() if name in own}
    written = {name: value for name, value in options.items() if name in ("split", "segment", "seed")}
    prepared = prepare_repair(
        model,
        table,
        RepairConfig(
            remedy=Augmentation(remedy=remedy, form="prompt-completion", **written),
            fine_tuning=FineTuning(**taught),
            audit=AuditConfig(candidates=candidates),
        ),
        phrasings=None if phrasings is None else read_relations(phrasings),
        texts=sample() if text is None else lines_of(text),
        kept=() if keep is None else lines_of(keep),
        device=device,
    )
    with open_run(Path("runs"), "repair", {"repair": prepared.identity}, Path(out)) as directory:
        if directory.finished:
            return prepared.read(directory.path)
        return prepared.repair(directory.path)


def dissect(
    model: "Source",
    facts: "str | Path | FactTable",
    *,
    relations: str | Path | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    **options: Any,
) -> "Dissected":
    """Where and how a model keeps the facts of a relation: the whole investigation of Fact Finding, F1 to F16, and the
    circuit of a one-way lookup, N1, each claim judged by its fixed rule.

    `model` and `facts` as for `audit`. `options`: any field of `DissectionConfig` (relation, template, one_shot, seed)
    or of `Sizes` (most, entities, splits, quadruples, traced). With `out` it is a run in that folder, see
    `dissect_run`; without, nothing is written. See `oneway.studies.dissecting`.
    """
    if out is not None:
        return dissect_run(model, facts, relations=relations, device=device, out=out, **options)[0]
    return _to_dissect(model, facts, relations, device, options).dissect()


def dissect_run(
    model: "Source",
    facts: "str | Path | FactTable",
    *,
    relations: str | Path | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    **options: Any,
) -> "tuple[Dissected, Path]":
    """`dissect` as a run with a folder (by default a new one under runs/dissect), which is returned too.

    Killed at any moment, the same call continues with the step that was interrupted; where `out` holds this very
    dissection, finished, it is shown again. Raises RunError and WriteError as `open_run` does.
    """
    from oneway.runs.unfinished import open_run

    prepared = _to_dissect(model, facts, relations, device, options)
    asked = {"dissect": prepared.identity}
    with open_run(Path("runs"), "dissect", asked, None if out is None else Path(out)) as directory:
        workspace = directory.file("workspace")
        if directory.finished:
            found = prepared.read(directory.path)
        else:
            found = prepared.dissect(workspace)
            found = replace(found, record=replace(found.record, run_id=directory.path.resolve().name))
            found.save(directory.path)
        rmtree(workspace, ignore_errors=True)
    return found, directory.path


def _to_dissect(
    model: "Source",
    facts: "str | Path | FactTable",
    relations: str | Path | None,
    device: str,
    options: dict[str, Any],
) -> "Prepared":
    table = _table(facts, relations)
    from oneway.anatomy.specimen import Sizes
    from oneway.studies.dissecting import DissectionConfig, prepare_dissection

    sizes = {field.name for field in fields(Sizes)}
    own = {field.name for field in fields(DissectionConfig)} - {"sizes"}
    if unknown := options.keys() - sizes - own:
        raise ValueError(f"dissect has no option {min(unknown)!r}")
    config = DissectionConfig(
        **{name: value for name, value in options.items() if name in own},
        sizes=Sizes(**{name: value for name, value in options.items() if name in sizes}),
    )
    return prepare_dissection(model, table, config, device=device)


def grade(found: "Mapping[str, Any] | str | Path", circuit: str | Path) -> "Grade":
    """Score what a method found in a compiled checkpoint against its circuit.json.

    See `oneway.compiler.grading.grade`.
    """
    from oneway.compiler import grade as score

    return score(found, circuit)


def run(
    study: str,
    recipe: str = "quick",
    seeds: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    **given: str,
) -> "tuple[RunRecord, Path]":
    """Run a study by name; returns its record and its folder. See `oneway.runs.execute.run_study`.

    `given`: `model` (a directory or a hub name), `facts` (a file or a shipped table), `relations` (a TOML of
    templates) and `text` (a text file), where the study takes them.
    """
    from oneway.runs.execute import run_study
    from oneway.studies import load_study

    record, directory = run_study(
        load_study(study), recipe, None if seeds is None else range(seeds), device, out, given
    )
    return record, directory.path


def demo(out: str | Path | None = None) -> "tuple[RunRecord, Path]":
    """Teach a small model the shipped tables, audit it, write the report; returns record and folder."""
    from oneway.evidence.record import code_version
    from oneway.runs.unfinished import open_run
    from oneway.studies.demo import WORKSPACES, Demo
    from oneway.studies.demo import demo as teach_and_ask

    asked = {"demo": asdict(Demo()), "code": code_version()}
    with open_run(Path("runs"), "demo", asked, None if out is None else Path(out)) as directory:
        if not directory.finished:
            teach_and_ask(directory.path)
        for rest in WORKSPACES:
            rmtree(directory.file(rest), ignore_errors=True)
    return directory.read_record(), directory.path


def write_report(runs: Sequence[str | Path], out: str | Path) -> Path:
    """One page from the folders of finished runs."""
    from oneway.report import write_page

    return write_page([_finished(path) for path in runs], out)


def _finished(path: str | Path) -> "Run":
    """A finished run as its folder holds it. Raises RunError where record or tables are missing or broken."""
    from oneway.report import Run, read_dissection
    from oneway.runs.directory import RunDirectory

    directory = RunDirectory(Path(path))
    record = directory.read_record()
    tables = {name: directory.read_table(file) for name, file in record.tables.items()}
    return Run(
        record=record,
        rows=tables.get("per_fact"),
        curves=tables.get("curves"),
        skipped=tables.get("skipped"),
        dissection=read_dissection(directory.path),
        folder=directory.path,
    )


def _table(facts: "str | Path | FactTable", relations: str | Path | None) -> "FactTable":
    from oneway.facts import FactTable, resolve

    return facts if isinstance(facts, FactTable) else resolve(facts, relations)


def _configured(teaching: "Teaching", options: dict[str, Any]) -> "Teaching":
    """Put each option into the part of the config that has a field of its name."""
    parts: dict[str, Any] = {"size": teaching.size, "lessons": teaching.lessons}
    parts["optimisation"] = teaching.optimisation
    own: dict[str, Any] = {}
    for name, value in options.items():
        owner = next((p for p, part in parts.items() if name in {f.name for f in fields(part)}), None)
        if owner is not None:
            _check_choice(type(parts[owner]), name, value)
            parts[owner] = replace(parts[owner], **{name: value})
        elif name in {f.name for f in fields(teaching)} - set(parts):
            _check_choice(type(teaching), name, value)
            own[name] = value
        else:
            raise ValueError(f"train has no option {name!r}")
    return replace(teaching, **parts, **own)


def _check_choice(config: Any, name: str, value: Any) -> None:
    """Raises ValueError where a field or an argument takes a few words only and this is not one of them."""
    kind = get_type_hints(config)[name]
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ValueError(f"{name} is {value!r}, but it is one of: {', '.join(map(str, get_args(kind)))}")
