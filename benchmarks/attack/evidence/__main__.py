"""What any commit's command line does with the faults found in the field: works, or fails, with the words it said.

python -m benchmarks.attack.evidence                                # this checkout
python -m benchmarks.attack.evidence --source CHECKOUT --only F2 R7  # another commit's, with this environment
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.attack.evidence import field, reliability, security  # noqa: F401 - they register their cases
from benchmarks.attack.evidence.case import CASES, Finding
from benchmarks.attack.tools.checkout import ROOT, Lab


def tried(name: str, source: Path) -> Finding:
    """Try a case with a checkout's command line in a new folder."""
    lab = Lab(source, Path(tempfile.mkdtemp(prefix=f"soar-{name}-")))
    try:
        return CASES[name][1](lab)
    except (PermissionError, ModuleNotFoundError) as error:
        return Finding(False, f"not tried: {error}")
    finally:
        lab.close()
        shutil.rmtree(lab.folder, ignore_errors=True)


def main() -> int:
    """Print a row for each case, and return 1 if one fails."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attack.evidence", description=__doc__
    )
    parser.add_argument("--source", type=Path, default=ROOT, help="a checkout of any commit")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    print("| case | put in | result | what it did |\n|---|---|---|---|")
    failures = 0
    for name in options.only:
        works, seen = tried(name, options.source.resolve())
        failures += not works
        shown = re.sub(r"[^ -~]", "", seen).replace("|", "/")[:160]
        print(f"| {name} | {CASES[name][0]} | {'works' if works else 'fails'} | {shown} |", flush=True)  # fmt: skip
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
