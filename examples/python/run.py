"""Runs every program of this folder and compares what it prints with README.md; `--write` writes README.md anew.

    python examples/python/run.py [--write] [PROGRAM ...]

Whole numbers must be the same. Others may differ by .01: teachers that compute with other libraries differ in their last digits from
machine to machine, and so does what they teach. A program whose imports are not installed is skipped.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
README = HERE / "README.md"
# What a program has printed: `<!-- NAME -->`, and the block that follows.
BLOCK = re.compile(r"<!-- (\w+\.py) -->\n```text\n(.*?)```\n", re.DOTALL)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write README.md anew")
    parser.add_argument("programs", nargs="*", help="default: all")
    args = parser.parse_args()
    text = README.read_text()
    known = dict(BLOCK.findall(text))
    programs = sorted(path.name for path in HERE.glob("*.py") if path.name != Path(__file__).name)
    if programs != sorted(known):
        sys.exit(f"README.md: has blocks of {sorted(known)}, the folder has {programs}")
    stale = []
    for name in args.programs or known:
        printed = run(name)
        if printed is None:
            continue
        print(f"{name}\n{printed}", flush=True)
        if args.write:
            text = text.replace(block(name, known[name]), block(name, printed))
        elif not same(known[name], printed):
            stale.append(name)
    if args.write:
        README.write_text(text)
    if stale:
        sys.exit(f"README.md: has another output of {', '.join(stale)}; if it is meant: {sys.argv[0]} --write {' '.join(stale)}")


def run(name: str) -> str | None:
    """What a program prints; nothing where a package is missing."""
    done = subprocess.run([sys.executable, HERE / name], capture_output=True, text=True)
    missing = re.search(r"^ModuleNotFoundError: No module named '(\w+)'", done.stderr, re.MULTILINE)
    if missing and missing[1] != "rankstill":
        print(f"{name}: skipped, needs {missing[1]}\n")
        return None
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())


def block(name: str, printed: str) -> str:
    return f"<!-- {name} -->\n```text\n{printed}```\n"


def same(old: str, new: str) -> bool:
    """Whether two outputs differ in the last digits of numbers at most."""
    if [line.split() for line in NUMBER.sub("0", old).splitlines()] != [line.split() for line in NUMBER.sub("0", new).splitlines()]:
        return False
    for one, other in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
        whole = "." not in one
        if whole and one != other or not whole and abs(float(one.replace(",", "")) - float(other.replace(",", ""))) > 0.01:
            return False
    return True


if __name__ == "__main__":
    main()
