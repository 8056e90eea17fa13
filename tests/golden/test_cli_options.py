import importlib.util
import inspect
import json
from pathlib import Path

import rosenblatt
from rosenblatt.cli.signatures import parameters_of
from rosenblatt.cli.systems import SYSTEMS

HERE = Path(__file__).parent


def test_the_options_are_frozen():
    spec = importlib.util.spec_from_file_location("make_cli_options", HERE / "make_cli_options.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    frozen = json.loads((HERE / "cli_options.json").read_text())
    assert maker.every_command() == frozen, "the command line changed: see tests/golden/make_cli_options.py"


def test_the_parsed_constructors_are_the_real_ones():
    for system in SYSTEMS.values():
        real = inspect.signature(getattr(rosenblatt, system.kind).__init__).parameters
        parsed = {p.name: p.default for p in parameters_of(system.file, system.kind)}
        assert parsed == {name: p.default for name, p in real.items() if name != "self"}


def test_every_parameter_has_its_line_of_help():
    for system in SYSTEMS.values():
        missing = [p.name for p in parameters_of(system.file, system.kind) if not p.help]
        assert not missing, f"{system.kind}: {missing} have no line in the docstring's Args"
