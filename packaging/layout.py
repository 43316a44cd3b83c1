"""Finds the functions that an idle device runs, so that a release has them side by side; see packaging/linker.sh.

layout.py order OBJECT…      prints functions of objects and archives: those that packaging/layout.txt names, in the order of
                             its parts, and then the others of the same modules, one of which may run one day
layout.py learn PART=LOG…    prints a layout.txt: for each part, what qemu's logs say has run, and no part before had

layout.txt has a number for each function, made of its path and its types: 5,000 such names are a megabyte.
"""

import re
import subprocess
import sys
from hashlib import blake2s
from pathlib import Path
from textwrap import wrap

LAYOUT = Path(__file__).with_name("layout.txt")
# Libraries whose functions belong to the module of the types that they are for.
CARRIERS = {"alloc", "core", "futures_core", "futures_util", "hashbrown", "smallvec", "std", "tokio"}
# What LLVM moves out of several functions has another name in each build. Half of it runs, so all of it is in the first part.
OUTLINED = "OUTLINED_FUNCTION_"
# The list is too old if less of it than this is there; what another processor's build has inlined is not.
LEAST = 0.8
HEAD = """\
# The functions that an idle device runs, and those that it runs besides for a cloud: `make layout` made this list, and
# packaging/linker.sh reads it. packaging/layout.py says what the numbers are.
"""


def functions(objects):
    """The names of all functions in objects and archives, once each."""
    said = subprocess.run(["readelf", "--wide", "--syms", *objects], check=True, capture_output=True, text=True).stdout
    words = (line.split() for line in said.splitlines())
    return dict.fromkeys(it[7] for it in words if len(it) > 7 and it[3] == "FUNC" and it[6] != "UND")


def readable(names):
    """Demangled names, without what tells two builds of a library apart."""
    said = subprocess.run(["c++filt"], check=True, input="\n".join(names), capture_output=True, text=True).stdout
    return dict(zip(names, (re.sub(r"\[[0-9a-f]+\]", "", it) for it in said.split("\n"))))


def number(name):
    return blake2s(name.encode(), digest_size=4).hexdigest()


def module(name):
    """The module that a function belongs to, by its readable name; the function itself where it is C's."""
    first = None
    for path in re.findall(r"\w+(?:::\w+)+", name):
        parts = path.split("::")
        # A type has a capital, and a function is no part of its module.
        types = [at for at, it in enumerate(parts) if it[0].isupper()]
        parts = parts[: types[0]] if types else parts[:-1]
        if not parts:
            continue
        first = first or "::".join(parts)
        if parts[0] not in CARRIERS:
            return "::".join(parts)
    return first or name


def order(objects):
    parts, part = {}, 0
    for line in LAYOUT.read_text().splitlines():
        part += line.startswith("[")
        if line[:1] not in ("#", "["):
            parts |= {it: part for it in line.split()}
    names = readable(functions(objects))
    numbers = {name: number(it) for name, it in names.items()}
    found = parts.keys() & set(numbers.values())
    if len(found) < LEAST * len(parts):
        sys.exit(f"layout.py: {len(found)} of the {len(parts)} functions in {LAYOUT} are here; `make layout` makes it anew")
    placed = {name: 1 if name.startswith(OUTLINED) else parts.get(it) for name, it in numbers.items()}
    modules = {module(names[name]) for name, it in placed.items() if it}
    for name, it in names.items():
        if not placed[name] and module(it) in modules:
            placed[name] = part + 1
    print("\n".join(sorted((name for name, it in placed.items() if it), key=placed.get)))


def learn(logs):
    seen = {}
    for part, log in logs:
        with open(log, encoding="utf-8", errors="replace") as lines:
            seen.setdefault(part, set()).update(it[3:].strip() for it in lines if it.startswith("IN: "))
    text, placed = HEAD, set()
    for part, names in seen.items():
        runs = {number(it) for it in readable(names).values() if not it.startswith(OUTLINED)} - placed
        placed |= runs
        text += f"\n[{part}]\n" + "\n".join(wrap(" ".join(sorted(runs)), 125)) + "\n"
        print(f"{part}: {len(runs)} functions", file=sys.stderr)
    print(text, end="")


match sys.argv[1:]:
    case ["order", *objects] if objects:
        order(objects)
    case ["learn", *logs] if logs:
        learn([it.split("=", 1) for it in logs])
    case _:
        sys.exit(__doc__)
