"""Write cli_options.json: every command's options and defaults, as a user types them.

Run it after a wanted change of the command line, and look at the difference before committing it.
"""

import inspect
import json
from pathlib import Path

from rosenblatt.cli import app
from rosenblatt.cli.train import app as train_app

FILE = Path(__file__).with_name("cli_options.json")


def options_of(function):
    rows = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        info = next(item for item in parameter.annotation.__metadata__)
        words = " ".join(getattr(info, "param_decls", None) or ()) or parameter.name.replace("_", "-")
        empty = parameter.default is inspect.Parameter.empty
        rows.append([words, "required" if empty else str(parameter.default)])
    return rows


def every_command():
    found = {c.name or c.callback.__name__: options_of(c.callback) for c in app.registered_commands}
    return found | {f"train {c.name}": options_of(c.callback) for c in train_app.registered_commands}


if __name__ == "__main__":
    FILE.write_text(json.dumps(every_command(), indent=1) + "\n")
