"""What the README shows runs as it stands, and names nothing that is not there."""

import re
from pathlib import Path

import typer.main

from vilseg_train.cli import app
from vilseg_train.config import preset_names

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")


def test_the_python_example_runs() -> None:
    [example] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})


def test_commands_and_presets_exist() -> None:
    shown = "".join(re.findall(r"```\n(.*?)```", TEXT, re.DOTALL))
    commands = re.findall(r"^(?:.*&& )?vilseg (\w+)(?: (\w+))?", shown, re.MULTILINE)
    assert {command for command, _ in commands} == set(typer.main.get_group(app).commands)
    assert {preset for command, preset in commands if command == "train"} <= set(preset_names())


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
