"""What a run measures: the sweep, or the points, targets, losses, dtypes and works asked for."""

import pytest
import torch
from benchmarks import loss_measure, losses
from benchmarks.loss_problems import (
    LOSSES,
    InfoNCE,
    MutualInformation,
    Problem,
    describe,
    parse_point,
    sweep,
)
from benchmarks.schema import Device, Result

PAPER = MutualInformation(150528, 25, torch.float32)


def asked(*arguments: str) -> tuple[Problem, ...]:
    return losses.problems(losses.parse(arguments))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n=150528,c=25", PAPER),
        ("c=25,n=150528,layout=channel_first", PAPER),
        ("n=7,c=5,layout=rows", MutualInformation(7, 5, torch.float32, layout="rows")),
        ("n=8192,d=512", InfoNCE(8192, 512, torch.float32)),
    ],
)
def test_a_point_names_its_loss_by_its_sizes(text: str, expected: Problem) -> None:
    assert parse_point(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "n=8", "n=8,c=3,d=4", "n=0,d=4", "n=8,d=many", "n=8,d=4,layout=channel_first", "n=8;d=4"],
)
def test_what_is_no_point_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="point: expected n=150528,c=25 for mutual information"):
        parse_point(text)


def test_pixels_that_fill_no_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"n: expected whole grids of 14 x 14 pixels, came 100"):
        parse_point("n=100,c=25")


def test_a_refusal_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        losses.parse(["--only", "n=100,c=25"])
    assert "take a multiple of 196 or layout=rows" in capsys.readouterr().err


def test_points_come_in_place_of_the_sweep_in_every_dtype() -> None:
    wanted = {"n": 1960, "c": 7}
    found = asked("--only", "n=1960,c=7", "--dtype", "float32", "float16")
    assert [problem.sizes for problem in found] == [wanted, wanted]
    assert [problem.dtype for problem in found] == [torch.float32, torch.float16]


def test_targets_narrow_to_the_sizes_of_the_device() -> None:
    found = asked("--device", "cuda", "--targets")
    assert found
    assert set(found) < set(asked("--device", "cuda"))
    assert {problem.dtype for problem in found} == {torch.bfloat16}
    assert PAPER in asked("--targets")


@pytest.mark.parametrize(
    "arguments",
    [("--only", "n=8,d=4", "--loss", "mutual_information"), ("--targets", "--dtype", "float16")],
)
def test_what_leaves_nothing_is_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        losses.parse(arguments)
    assert "nothing to measure" in capsys.readouterr().err


@pytest.mark.parametrize("narrowed", [("--quick",), ("--only", "n=8,d=4"), ("--targets",)])
def test_a_part_of_the_sweep_is_not_committed(
    narrowed: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert losses.parse([*narrowed, "--json", "part.json"]).json
    with pytest.raises(SystemExit):
        losses.parse([*narrowed, "--json"])
    assert "add a PATH" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--device", "cuda"), ("--threads", "2")])
def test_processor_time_is_for_one_thread_of_the_cpu(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        losses.parse([*arguments, "--clock", "processor"])
    assert "does not see a GPU" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_sweep_has_every_loss_and_both_layouts_once(device: Device, dtype: torch.dtype) -> None:
    found = list(sweep(device, dtype).problems(dtype))
    assert len({describe(problem) for problem in found}) == len(found)
    assert {problem.loss for problem in found} == set(LOSSES)
    information = [p for p in found if isinstance(p, MutualInformation)]
    assert {p.layout for p in information} == {"channel_first", "rows"}
    for problem in information:
        usual = MutualInformation(problem.pixels, problem.clusters, dtype)
        assert usual in information, "rows stand beside the usual layout"


def test_both_layouts_hold_the_same_number_of_pixels_and_clusters() -> None:
    for layout, shape in (("channel_first", (2, 3, 14, 14)), ("rows", (392, 3))):
        [point] = asked("--only", f"n=392,c=3,layout={layout}", "--dtype", "float32")
        assert [tuple(one.shape) for one in point.inputs("cpu", seed=0)] == [shape, shape]


def test_a_run_saves_what_it_has_after_each_problem() -> None:
    options = loss_measure.Options(
        device="cpu",
        problems=(InfoNCE(3, 2, torch.float32), InfoNCE(4, 2, torch.float32)),
        works=("forward",),
        compiled=False,
        memory_limit=2.0**30,
        seed=0,
        quick=True,
    )
    saved: list[Result] = []
    result = losses.run(options, save=saved.append)
    assert saved[-1] == result
    assert [len({row.sizes["n"] for row in one.rows}) for one in saved] == [1, 2]
    assert {row.work for row in result.rows} == {"forward"}
