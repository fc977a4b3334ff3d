"""What importing costs beyond NumPy, and ``portrait --help``: new processes, taking turns."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict

import harness


def python(code: str) -> None:
    """Run code in a new interpreter."""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Time them."""
    timing = harness.take_turns(
        {
            "import numpy": lambda: python("import numpy"),
            "import numpy, portrait_sdk": lambda: python("import numpy, portrait_sdk"),
            "portrait_sdk.matte bound": lambda: python(
                "import numpy, portrait_sdk; portrait_sdk.matte"
            ),
            "portrait --help": lambda: python("from portrait_sdk.cli import cli; cli(['--help'])"),
        }
    )
    base = timing["import numpy"].median
    rows = {}
    for name, value in timing.items():
        beyond = 1000 * (value.median - base)
        rows[name] = {**asdict(value), "ms_beyond_numpy": round(beyond, 1)}
        print(f"{name:<32} {1000 * value.median:7.1f} ms  {beyond:+7.1f} ms beyond numpy")
    print(harness.save("startup", {"rows": rows}))


if __name__ == "__main__":
    main()
