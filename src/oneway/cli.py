"""The command `oneway`. Every command is also a Python call; heavy imports wait until one is asked."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from oneway.console import FAILED, interruptible, print_json, read_table, said_plainly, show, with_paths

app = typer.Typer(
    help="A laboratory for one-way memory: which way does a language model recall its facts, and why?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Facts = Annotated[
    str, typer.Option("--facts", help="A file or folder of facts (see the README), or a shipped table.")
]
Relations = Annotated[Path | None, typer.Option("--relations", help="TOML with the relations' templates.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")
    ] = None,
    as_json: Json = False,
) -> None:
    """The main job end to end: teach a small model real facts, audit it three ways, write the report."""
    from oneway.api import demo as run_demo

    record, directory = run_demo(out)
    show(record, directory, as_json)


@app.command("list")
def list_studies(as_json: Json = False) -> None:
    """Studies with their claims, sources and recipes."""
    from oneway.studies import STUDIES, load_study

    studies = [load_study(name) for name in sorted(STUDIES)]
    if as_json:
        print_json(
            {
                study.name: {
                    "title": study.title,
                    "recipes": list(study.recipes),
                    "claims": [
                        {"id": c.id, "text": c.text, "source": c.source, "rule": c.rule} for c in study.claims
                    ],
                }
                for study in studies
            }
        )
        return
    for study in studies:
        typer.echo(f"{study.name}: {study.title}  [{', '.join(study.recipes)}]")
        for claim in study.claims:
            typer.echo(f"  {claim.id}  {claim.text}\n      Source: {claim.source}\n      Rule: {claim.rule}")


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="A study's name (see `oneway list`).")],
    recipe: Annotated[
        str, typer.Option(help="quick, standard, paper, or another that `oneway list` shows.")
    ] = "quick",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds (0, 1, …); default: the recipe's.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A checkpoint directory or a hub name, where the study takes a model.")
    ] = None,
    facts: Annotated[
        str | None, typer.Option(help="A file or a shipped table, where the study takes facts.")
    ] = None,
    relations: Relations = None,
    text: Annotated[Path | None, typer.Option(help="A text file, where the study takes a text.")] = None,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a study: train, measure, judge its claims by their fixed rules, draw. Resumes where it was killed."""
    from oneway.api import run as run_study

    options = {"model": model, "facts": facts, "relations": relations, "text": text}
    given = {name: str(value) for name, value in options.items() if value is not None}
    record, directory = run_study(study, recipe, seeds, device, out, **given)
    show(record, directory, as_json)


@app.command()
def audit(
    model: Annotated[str, typer.Option(help="A checkpoint directory, a LoRA adapter's, or a hub name.")],
    facts: Facts,
    relations: Relations = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, help="Most candidates per relation and direction.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws the candidates.")] = 0,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto (the checkpoint's own), float32, bfloat16 or float16")
    ] = "auto",
    weights: Annotated[
        str, typer.Option(help="A file in the checkpoint's directory to read instead of its safetensors.")
    ] = "",
    base: Annotated[
        str, typer.Option(help="The base model of a LoRA adapter: a directory or a hub name.")
    ] = "",
    chat: Annotated[
        str, typer.Option(help="off, user (the prompt is the user's turn) or assistant (it opens the answer)")
    ] = "off",
    as_json: Json = False,
) -> None:
    """Which of these facts does a model recall: forward, in reverse, or only in context?"""
    table = read_table(
        facts, relations
    )  # before torch is imported: what is wrong with a file is said at once
    from oneway.api import audit_run
    from oneway.models.checkpoint import Loading, load_checkpoint
    from oneway.recall.asking import AuditConfig

    config = AuditConfig(candidates=candidates, seed=seed, chat=chat)  # type: ignore[arg-type]
    loading = Loading(device=device, dtype=dtype, weights=weights, base=base)  # type: ignore[arg-type]
    result, directory = audit_run(load_checkpoint(model, loading), table, config, out=out)
    show(result.record, directory, as_json)


@app.command()
def check(
    model: Annotated[str, typer.Option(help="A checkpoint directory, a LoRA adapter's, or a hub name.")],
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Does the engine support this checkpoint? Proved on a few tokens; status 1 where it is not."""
    from oneway.api import check as prove

    proof = prove(model, device=device)
    if as_json:
        print_json(proof.to_dict())
    else:
        from oneway.evidence.record import printable

        typer.echo("\n".join(map(printable, proof.lines())))
    if not proof.holds:
        raise typer.Exit(FAILED)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="The folder of an audit.")],
    after: Annotated[Path, typer.Argument(help="The folder of another audit of the same facts.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Two audits fact by fact: which facts were gained, lost, turned around?"""
    from oneway.api import compare_run

    found, directory = compare_run(before, after, out)
    show(found.record, directory, as_json, found.rows)


@app.command()
def dissect(
    model: Annotated[str, typer.Option(help="A checkpoint directory, a LoRA adapter's, or a hub name.")],
    facts: Facts,
    relations: Relations = None,
    relation: Annotated[
        str, typer.Option(help="The relation that is dissected; default: the one with most facts.")
    ] = "",
    template: Annotated[int, typer.Option(min=0, help="Which of its forward templates asks.")] = 0,
    one_shot: Annotated[
        int | None, typer.Option(min=-1, help="Which one-shot prefix; default: the first, -1: none.")
    ] = None,
    most: Annotated[int, typer.Option(min=20, help="Most facts; more are drawn from at random.")] = 1500,
    entities: Annotated[int, typer.Option(min=2, help="Entities whose neurons are ablated one by one.")] = 16,
    seed: Annotated[int, typer.Option(help="Draws what is random.")] = 0,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: a new one under runs/).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Where and how does a model keep these facts? The whole investigation of Fact Finding, with its verdicts."""
    table = read_table(facts, relations)
    from oneway.api import dissect_run

    found, directory = dissect_run(
        model,
        table,
        device=device,
        out=out,
        relation=relation,
        template=template,
        one_shot=one_shot,
        most=most,
        entities=entities,
        seed=seed,
    )
    show(found.record, directory, as_json)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Where the Hugging Face checkpoint is written.")],
    facts: Annotated[
        str | None, typer.Option("--facts", help="A file or folder of facts, or a shipped table.")
    ] = None,
    world: Annotated[
        str | None, typer.Option(help="Instead of facts: athletes, the invented world of the default model.")
    ] = None,
    relations: Relations = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps (default 1300).")] = None,
    layers: Annotated[int | None, typer.Option(min=1)] = None,
    width: Annotated[int | None, typer.Option(min=1)] = None,
    heads: Annotated[int | None, typer.Option(min=1)] = None,
    style: Annotated[str | None, typer.Option(help="neox or gpt2")] = None,
    tokens: Annotated[str | None, typer.Option(help="word (one token a word) or bpe")] = None,
    loss: Annotated[
        str | None, typer.Option(help="answer (the loss is on answers) or document (all tokens)")
    ] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    as_json: Json = False,
) -> None:
    """Train a small model that knows these facts. A column `split` says how each is stated: forward_only (the
    default), reverse_only, both_ways or unseen. With --world instead of --facts: the default model, with its facts."""
    options: dict[str, Any] = {
        "steps": steps,
        "layers": layers,
        "width": width,
        "heads": heads,
        "style": style,
    }
    options |= {"tokens": tokens, "loss": loss, "seed": seed}
    options = {name: value for name, value in options.items() if value is not None}
    if facts is not None and world is None:
        table = read_table(facts, relations)
        from oneway.api import train as run_train

        taught = run_train(table, out, **options)
        asked = f"--facts {facts}" + (f" --relations {relations}" if relations else "")
    elif world is not None and facts is None and relations is None:
        from oneway.api import grow

        taught = grow(out, world, **options)
        asked = f"--facts {out / 'facts.jsonl'} --relations {out / 'relations.toml'}"
    else:
        raise ValueError(
            "give either --facts, with --relations if need be, or --world, which has relations of its own"
        )
    if as_json:
        print_json({**with_paths(taught.record, out), "checkpoint": str(out.resolve())})
    else:
        typer.echo(f"checkpoint: {out}  ({taught.record.wall_seconds:.0f} s)")
        typer.echo(f"next: oneway audit --model {out} {asked}")


@app.command("compile")
def compile_table(
    facts: Facts,
    out: Annotated[Path, typer.Option(help="Where the Hugging Face checkpoint is written.")],
    relations: Relations = None,
    mechanism: Annotated[
        str,
        typer.Option(help="neuron-per-fact, single-step, hash-and-lookup, partial-hash, attention-lookup"),
    ] = "neuron-per-fact",
    architecture: Annotated[str, typer.Option(help="gpt2 or neox")] = "gpt2",
    both_ways: Annotated[
        bool, typer.Option("--both-ways", help="A second entry for every fact: the reverse question too.")
    ] = False,
    shared_entry: Annotated[
        bool, typer.Option("--shared-entry", help="One stored association for both questions; single words.")
    ] = False,
    positions: Annotated[int, typer.Option(min=2, help="Tokens of the longest text.")] = 512,
    width: Annotated[int | None, typer.Option(min=1, help="d_model; default: what is needed.")] = None,
    neurons: Annotated[int | None, typer.Option(min=1, help="Neurons of a block; default: the best.")] = None,
    neurons_per_fact: Annotated[
        float | None, typer.Option(help="Default: 1; superposed, all counted, 1/4 or 1/2.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Lead of the right token in the logits, nats.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Draws what is random.")] = 0,
    noise: Annotated[
        float, typer.Option(min=0.0, help="Noise on every matrix, over its own root mean square.")
    ] = 0.0,
    decoys: Annotated[int, typer.Option(min=0, help="Decoys for each planted unit.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a fact table into the weights of a plain checkpoint; circuit.json says which unit does what."""
    if both_ways and shared_entry:
        raise ValueError("--both-ways stores two entries and --shared-entry one: give one of them")
    table = read_table(facts, relations)
    from oneway.api import compile as write

    compiled = write(
        table,
        out,
        mechanism=mechanism,
        architecture=architecture,
        directions="shared-entry" if shared_entry else "both-ways" if both_ways else "forward",
        positions=positions,
        width=width,
        neurons=neurons,
        neurons_per_fact=neurons_per_fact,
        margin=margin,
        seed=seed,
        noise=noise,
        decoys=decoys,
    )
    for note in compiled.lookup.notes:
        typer.echo(f"oneway: note: {note}", err=True)
    if as_json:
        print_json({**compiled.summary(), "checkpoint": str(out.resolve())})
        return
    typer.echo(f"checkpoint: {out}")
    typer.echo(
        "  ".join(f"{name} {value:,}" for name, value in compiled.summary().items() if value is not None)
        + " (trained transformers: about 2)"
    )
    toml = f" --relations {relations}" if relations else ""
    typer.echo(f"next: oneway audit --model {out} --facts {facts}{toml}")


@app.command()
def augment(
    facts: Facts,
    remedy: Annotated[str, typer.Option(help="A remedy by its name, both-directions for one (see docs).")],
    out: Annotated[Path, typer.Option(help="The file of JSON lines to write.")],
    relations: Relations = None,
    form: Annotated[str, typer.Option("--format", help="text, prompt-completion or chat")] = "text",
    audit: Annotated[
        Path | None, typer.Option(help="An audit's folder: facts known both ways are left out.")
    ] = None,
    split: Annotated[str, typer.Option(help="The remedy is for the facts with this split alone.")] = "",
    model: Annotated[
        str | None, typer.Option(help="A checkpoint or a hub name, whose tokenizer counts the cost.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws what is random.")] = 0,
    segment: Annotated[int, typer.Option(min=1, help="Most words of a reversed segment.")] = 5,
    as_json: Json = False,
) -> None:
    """Write training text that makes recall of these facts reversible."""
    table = read_table(facts, relations)
    from oneway.api import augment as write

    options: dict[str, Any] = {"form": form, "split": split, "seed": seed, "segment": segment}
    found = write(table, out, remedy=remedy, audit=audit, model=model, **options)
    if as_json:
        print_json(found.to_dict())
        return
    for note in found.notes[len(table.notes) :]:
        typer.echo(f"oneway: note: {note}", err=True)
    typer.echo(f"training text: {out}  ({found.facts:,} facts; {found.remedy.text})")
    counts = {"lines": found.lines, "words": found.words, "tokens": found.tokens}
    for unit, of in counts.items():
        if of:
            typer.echo(f"  {unit}: {of['forward']:,} of forward statements, {of['added']:,} added")


@app.command()
def repair(
    model: Annotated[str, typer.Option(help="A checkpoint directory or a hub name; it is left as it is.")],
    facts: Facts,
    remedy: Annotated[str, typer.Option(help="A remedy by its name, as for augment.")],
    out: Annotated[Path, typer.Option(help="Folder of the run: report, training text, checkpoint.")],
    relations: Relations = None,
    split: Annotated[str, typer.Option(help="The remedy is for the facts with this split alone.")] = "",
    phrasings: Annotated[
        Path | None, typer.Option(help="TOML with the relations in other words: asked, not taught.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="Other text, a line each, whose loss is measured (default: a sample).")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Text, a line each, that is taught too, so that it is kept.")
    ] = None,
    method: Annotated[str, typer.Option(help="full (all weights) or lora")] = "full",
    loss: Annotated[
        str, typer.Option(help="text (every token) or answer (what follows the prompt)")
    ] = "text",
    epochs: Annotated[int, typer.Option(min=1, help="How often every line is taught.")] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Lines in a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW, after its warm-up.")] = 1e-3,
    rank: Annotated[int, typer.Option(min=1, help="Of lora's updates.")] = 16,
    segment: Annotated[int, typer.Option(min=1, help="Most words of a reversed segment.")] = 5,
    candidates: Annotated[int, typer.Option(min=1, help="Most candidates per relation and direction.")] = 200,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between states that it resumes from.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws what is random.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Teach a checkpoint a remedy's text and show what it gained and lost. Resumes where it was killed."""
    table = read_table(facts, relations)
    from oneway.api import repair as teach

    options: dict[str, Any] = {"split": split, "segment": segment, "seed": seed, "device": device}
    options |= {"method": method, "loss": loss, "epochs": epochs, "batch": batch, "rank": rank}
    options |= {"learning_rate": learning_rate, "phrasings": phrasings, "text": text, "keep": keep}
    options |= {"candidates": candidates, "save_every": save_every}
    repaired = teach(model, table, remedy=remedy, out=out, **options)
    if not as_json:
        typer.echo(f"checkpoint: {repaired.checkpoint}")
    show(repaired.record, out, as_json)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    out: Annotated[Path, typer.Option(help="The page to write.")],
) -> None:
    """One HTML page, working offline, from the records of one or more runs."""
    from oneway.api import write_report as write

    typer.echo(f"report: {write(runs, out)}")


def main() -> None:
    """The entry point of the command."""
    # Threads that wait asleep cost a third on an idle machine and save half or more on a busy one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with said_plainly(), interruptible():
        app()


if __name__ == "__main__":
    main()
