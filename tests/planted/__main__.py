"""`python -m tests.planted FOLDER`: plant there, and print what is where as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.planted.plant import plant


def main() -> int:
    """Plant in the folder named first; 2 without one."""
    if len(sys.argv) != 2:
        print("python -m tests.planted FOLDER", file=sys.stderr)
        return 2
    planted = plant(Path(sys.argv[1]))
    print(json.dumps(asdict(planted), default=str, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
