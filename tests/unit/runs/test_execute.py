"""A study of two lines runs from recipe to record; killed, it goes on to the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest

from oneway.evidence import Claim, Measured, RunRecord, Study, over_seeds
from oneway.runs.directory import RunDirectory, RunError
from oneway.runs.execute import run_study


@dataclass(frozen=True)
class Config:
    slope: float = 2.0
    seeds: tuple[int, ...] = (1, 2, 3)


@dataclass(frozen=True)
class OnDevice(Config):
    device: str = "cpu"


def experiment(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
    rows = []
    for seed in seeds:
        done = workspace / str(seed)
        if not done.exists():
            workspace.mkdir(parents=True, exist_ok=True)
            done.write_text(str(config.slope * seed))
        rows += [
            {"seed": seed, "step": step, "quantity": "y", "value": step * float(done.read_text())}
            for step in (0, 1)
        ]
    return pl.DataFrame(rows)


def measure(curves: pl.DataFrame) -> Measured:
    return {"last": over_seeds(curves.filter(pl.col("step") == 1)["value"].to_numpy(), "nats")}


def figure(measured: Measured, curves: pl.DataFrame):
    from matplotlib.figure import Figure

    drawn = Figure()
    drawn.subplots().plot(curves["step"], curves["value"])
    return drawn


CLAIM = Claim(
    id="X1",
    text="the slope is positive",
    source="nobody",
    rule="the interval of the last value is above 0",
    control=lambda m: True,
    supports=lambda m: m["last"].low > -10,
    refutes=lambda m: m["last"].high < -10,
)
STUDY = Study(
    name="lines",
    title="Two lines",
    claims=(CLAIM,),
    experiment=experiment,
    measure=measure,
    figure=figure,
    recipes={"quick": Config, "gpu": OnDevice},
)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_everything_is_written_and_traced() -> None:
    record, directory = run_study(STUDY)
    assert directory.path == Path("runs") / "lines" / record.run_id
    assert {str(p.relative_to(directory.path)) for p in directory.path.rglob("*") if p.is_file()} == {
        "started.json",
        "record.json",
        "curves.parquet",
        "report.html",
        "figures/lines.svg",
        "figures/lines.png",
    }
    assert directory.read_record() == RunRecord.from_json(record.to_json())
    assert record.seeds == [1, 2, 3]
    assert record.config == {"recipe": "quick", "slope": 2.0, "seeds": [1, 2, 3]}
    (claim,) = record.claims
    assert claim["verdict"] == "reproduced"
    assert claim["measured"]["last"]["mean"] == 4.0  # 2 · (1 + 2 + 3) / 3
    assert directory.read_table(record.tables["curves"]).height == 6


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers() -> None:
    calls: list[int] = []

    def killed(config: Config, seeds: Sequence[int], workspace: Path | None) -> pl.DataFrame:
        experiment(config, seeds[:2], workspace)
        (workspace / "1").write_text("99.0")  # a mark by which the second part shows that it read this one
        calls.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(replace(STUDY, experiment=killed))
    (unfinished,) = (Path("runs") / "lines").iterdir()
    record, directory = run_study(STUDY)
    assert calls == [1]
    assert directory.path == unfinished
    assert not (unfinished / "workspace").exists()
    values = directory.read_table("curves.parquet").filter(pl.col("step") == 1)["value"].to_list()
    assert values == [99.0, 4.0, 6.0]
    assert "Resumed" in record.notes[0]


def test_one_seed_gives_no_verdict() -> None:
    record, _ = run_study(STUDY, seeds=[5])
    assert record.claims[0]["verdict"] == "inconclusive"
    assert record.claims[0]["measured"]["last"]["low"] is None


def test_equal_runs_draw_equal_figures() -> None:
    first, second = (run_study(STUDY)[1].path / "figures" for _ in range(2))
    for name in ("lines.svg", "lines.png"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"recipe": "slow"}, "no recipe 'slow'; it has quick, gpu"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"device": "cuda"}, "processor only"),
        ({"recipe": "gpu", "device": "toaster"}, "not a device"),
    ],
)
def test_what_cannot_be_run_as_asked_is_refused_before_anything_is_written(options, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        run_study(STUDY, **options)
    assert not Path("runs").exists()


def test_a_missing_gpu_is_named(monkeypatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match="no CUDA device"):
        run_study(STUDY, "gpu", device="cuda")
    record, _ = run_study(STUDY, "gpu")
    assert record.config["device"] == "cpu"


def test_a_given_folder_is_the_runs_own(tmp_path) -> None:
    record, directory = run_study(STUDY, out=tmp_path / "mine")
    assert directory == RunDirectory(tmp_path / "mine")
    assert record.run_id == "mine"
    again, _ = run_study(replace(STUDY, experiment=None), out=tmp_path / "mine")
    assert again == record, "a finished run that was asked the very same is not run again"
    with pytest.raises(RunError, match="a finished run with another config"):
        run_study(STUDY, seeds=[1, 2], out=tmp_path / "mine")


def test_several_figures_and_tables_stand_beside_the_record_and_on_the_page(tmp_path) -> None:
    several = replace(
        STUDY,
        figure=lambda measured, curves: {name: figure(measured, curves) for name in ("one", "two")},
        tables=lambda measured, curves: {"ends": curves.filter(pl.col("step") == 1)},
    )
    record, directory = run_study(several)
    assert record.figures == {
        f"{n}.{kind}": f"figures/{n}.{kind}" for n in ("one", "two") for kind in ("svg", "png")
    }
    assert all(directory.file(file).stat().st_size for file in record.figures.values())
    assert directory.read_table(record.tables["ends"])["value"].to_list() == [2, 4, 6]
    page = directory.file("report.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == 2
