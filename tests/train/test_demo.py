import json
from pathlib import Path

import pytest
from tests.train.conftest import TINY, quiet, said

from vilseg_train import ConfigError
from vilseg_train.demo import run_demo


def test_the_demo_ends_with_a_table_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    console = quiet()
    report = run_demo(out, images=4, overrides=TINY, seed=3, console=console)
    text = said(console)
    for row in ("ViL-Seg", "per-patch classification", "chance", "mIoU", "pixel accuracy"):
        assert row in text
    assert text.splitlines()[-1] == f"report: {report}"
    page = report.read_text()
    assert page.count("data:image/png;base64,") >= 4 * 4
    for part in ("What is taken for what", "clusters win pixels", "Ground truth of "):
        assert part in page
    assert "<script" not in page
    for name in ("world", "world-patch"):
        results = json.loads((out / "eval" / name / "results.json").read_text())
        assert results["images"] == 4
    assert "seed = 3" in (out / "config.toml").read_text()
    with pytest.raises(ConfigError, match="exists and is not empty"):
        run_demo(out, images=4, overrides=TINY, seed=3, console=quiet())
    again = quiet()
    run_demo(out, images=4, overrides=TINY, seed=3, resume=True, console=again)
    assert "step " not in said(again)
    assert "ViL-Seg" in said(again)
