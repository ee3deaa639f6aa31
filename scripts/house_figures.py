r"""Figures of a Python package's tree, code and docstrings, as a Markdown table.

    python scripts/house_figures.py PACKAGE [PACKAGE ...] [--words FILE] [--list KIND]

Sources are parsed, not imported. `__init__.py`, `__main__.py` and tests don't count as modules.

- *Docstring*: the first string of a module, class or function, or a string right after an
  assignment. Its first sentence ends at [.!?] or an empty line, its first clause also at [:;].
- *Dangling preposition*: the first word is in `PREPOSITIONS` (but not "At most", "At least"), the
  sentence is no question, and no part of its first clause (between commas) is a main clause. A main
  clause has an auxiliary ("is") before any subordinator ("that"); after a comma it may also begin
  with one of `CLAUSE_STARTS` or have one of `VERBS`, but not begin with "and" or a preposition.
- *Headless clause*: the first word is in `INTERROGATIVES` and the sentence is no question. "When"
  and "Where" may begin a sentence whose main clause follows after a comma; "Whether" is right for a
  function that returns a bool, and for a boolean attribute.
- *British spelling*, *word of the list*: a match in an identifier, docstring, comment or a line of
  Markdown. An identifier is matched whole and split at underscores and capitals (`\bdesk\b`
  matches `make_desk`), and counts once for each pattern; prose counts once for each match. Names in
  f-strings are seen from Python 3.12 on.
"""

from __future__ import annotations

import argparse
import ast
import io
import keyword
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

MAX_FILE_LINES, MAX_FUNCTION_LINES, MIN_MODULES, MAX_MODULES = 400, 60, 3, 12


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


PREPOSITIONS = word_set(
    "about above after along as at before behind below beside between by during for from in into of"
    " on onto over per since than through to towards under until with within without"
)
INTERROGATIVES = word_set("what who whom whose where how which when why whether")
SUBORDINATORS = word_set("that because if so while though unless else") | INTERROGATIVES
CLAUSE_STARTS = word_set(
    "i we you he she it they this add apply build call check compute convert copy create find"
    " get give keep load make open raise read return run save see select set take try use write"
)
AUXILIARIES = word_set(
    "is are was were has have had does do did can cannot could may might must shall should will"
    " would isn't aren't wasn't doesn't don't can't won't"
)
VERBS = word_set(
    "becomes comes contains defines depends determines gets gives goes holds keeps makes means"
    " needs provides puts requires returns runs sees stays takes uses works"
)
SENTENCE = re.compile(
    r"(?s).*?(?:(?<!e\.g|i\.e|\Wal|\Wcf|\Wvs|\WEq|Fig)[.!?][\"')\]]*(?=\s|$)|\n\s*\n|$)"
)
WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+")
BRITISH = re.compile(
    r"""\b(?:
      \w*(?:arm|behavi|col|endeav|fav|flav|harb|hon|hum|lab|neighb|od|rig|rum|sav|vap|vig)our\w*
    | \w*(?:amort|apolog|author|binar|categor|central|character|critic|custom|diagonal|digit|discret
        |emphas|equal|factor|final|general|harmon|ideal|initial|item|lemmat|linear|local|marginal
        |material|maxim|memor|minim|modern|neutral|normal|optim|organ|orthogonal|parallel|parameter
        |parametr|penal|personal|polar|priorit|quant|random|raster|real|recogn|regular|sanit|serial
        |special|stabil|standard|summar|symbol|synchron|token|util|vector|visual
      )is(?:e[drs]?|ers|ing|ations?|able)
    | \w*(?:channel|dial|fuel|label|level|marshal|model|signal|total|travel|tunnel)l(?:ed|ing|ers?)
    | (?:centi|kilo|milli|micro)?metres? | (?:kilo|milli)?litres? | \w*(?:centre|fibre)[ds]?
    | centring | grey\w* | analys(?:e[dr]?|ing) | practis(?:e[ds]?|ing) | (?:de|of)fences? | tyres?
    | licences? | programmes? | \w*judgements? | acknowledgements? | catalogues? | analogues?
    | artefacts? | mould(?:s|ed|ing)? | fulfils? | enrols? | skilful\w* | manoeuvr\w* | sceptic\w*
    | focuss(?:ed|ing) | ageing | aluminium | whilst | amongst | learnt | spelt
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)

NOT_CODE = word_set("COMMENT NL NEWLINE INDENT DEDENT ENDMARKER")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Place = tuple[Path, int, str]  # file, line, and the text that shows what to mend
Word = tuple[re.Pattern[str], str]  # and where to search: "id" (identifiers), "prose" or "" (both)
Assignment = ast.Assign | ast.AnnAssign
Definition = ast.Module | ast.ClassDef | Function


class Docstring(NamedTuple):
    """A docstring. `boolean`: of a boolean attribute, or a function that returns a bool."""

    lines: range
    text: str
    boolean: bool


class Source(NamedTuple):
    """A parsed file. `functions`: line, name, length in lines. `public`: line, name, node."""

    path: Path
    lines: list[str]
    tokens: list[tokenize.TokenInfo]
    docstrings: list[Docstring]
    docstring_lines: set[int]
    functions: list[tuple[int, str, int]]
    public: list[tuple[int, str, Definition]]


class Package(NamedTuple):
    """A folder of Python files. `strings`: words are searched in string literals too."""

    root: Path
    sources: list[Source]
    markdown: list[Path]
    words: Sequence[Word]
    strings: bool


def read_source(path: Path) -> Source:
    """Parse a Python file. Raises SyntaxError or UnicodeDecodeError."""
    with tokenize.open(path) as file:
        text = file.read()
    tree = ast.parse(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, Function)]
    public = [(1, "module", tree), *((n.lineno, n.name, n) for n in find_public(tree))]
    return Source(
        path,
        text.splitlines(),
        list(tokenize.generate_tokens(io.StringIO(text).readline)),
        docstrings := list(find_docstrings(tree)),
        {n for d in docstrings for n in d.lines},
        [(f.lineno, f.name, (f.end_lineno or f.lineno) - f.lineno + 1) for f in functions],
        public if tree.body and not re.match(r"_(?!_)", path.name) else [],
    )


def read_package(root: Path, words: Sequence[Word], strings: bool) -> Package:
    """Parse every Python file below `root`. Files that don't parse are skipped with a warning."""
    if not root.is_dir():
        raise SystemExit(f"{root} is not a folder")
    package = Package(root, [], [], words, strings)
    for path in sorted(p for p in root.rglob("*") if "/." not in f"/{p.relative_to(root)}"):
        if path.suffix == ".md":
            package.markdown.append(path)
        elif path.suffix == ".py":
            try:
                package.sources.append(read_source(path))
            except (SyntaxError, UnicodeDecodeError) as error:
                print(f"skipped {path}: {error}", file=sys.stderr)
    return package


def read_words(path: Path) -> list[Word]:
    """Read a word list: one regex a line, after an optional "id:" or "prose:"; "#" for comments."""
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        scope, pattern = re.findall(r"^(?:(id|prose):)?\s*(.*?)\s*$", line)[0]
        if pattern and not line.startswith("#"):
            whole_word = rf"\b{pattern}\b" if pattern.isidentifier() else pattern
            words.append((re.compile(whole_word), scope))
    return words


def find_docstrings(tree: ast.Module) -> Iterator[Docstring]:
    """Find the docstrings of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for owner, statement in pairwise([node, *body] if isinstance(body, list) else []):
            match statement:
                case ast.Expr(value=ast.Constant(str(text)), lineno=line, end_lineno=int(end)):
                    if isinstance(owner, Definition if owner is node else Assignment):
                        yield Docstring(range(line, end + 1), text, is_boolean(owner))


def is_boolean(node: ast.AST) -> bool:
    """Whether a function returns a bool or an assignment sets one, by annotation or value."""
    annotation = getattr(node, "returns", None) or getattr(node, "annotation", None)
    if annotation is not None:
        return re.search(r"\bbool|TypeGuard|TypeIs", ast.unparse(annotation), re.I) is not None
    value = getattr(node, "value", None)
    return isinstance(value, ast.Compare) or isinstance(getattr(value, "value", None), bool)


def first_sentence(docstring: Docstring) -> str:
    """Return the first sentence of a docstring, in one line."""
    return " ".join(next(SENTENCE.finditer(docstring.text.strip()))[0].split())


def first_word(sentence: str) -> str:
    """Return the first word in lower case; "" for a question, a quotation, code or "in-"."""
    match = re.match(r"([A-Za-z]+)(?=[\s,.]|$)", sentence)
    return match[1].lower() if match and not sentence.endswith("?") else ""


def has_main_clause(sentence: str, first_part: bool) -> bool:
    """Whether a sentence seems to have a main clause; `first_part`: also before a first comma."""
    plain = re.sub(r"`[^`]*`|\([^)]*\)|\[[^]]*\]", "X", sentence)
    clause = re.split(r"[:;](?=\s|$)", plain)[0]
    for i, part in enumerate(clause.split(",")):
        words = re.findall(r"[a-z']+", part.lower()) or [""]
        if i and words[0] in CLAUSE_STARTS:
            return True
        if words[0] in {"and", "or", "but"} | PREPOSITIONS if i else not first_part:
            continue
        for before, word in zip(["", *words], words, strict=False):
            if word in SUBORDINATORS:
                break
            if (word in AUXILIARIES and before not in CLAUSE_STARTS) or (i and word in VERBS):
                return True
    return False


def is_dangling(docstring: Docstring) -> bool:
    """Whether the first sentence is a prepositional phrase that belongs to nothing."""
    sentence = first_sentence(docstring)
    word = first_word(sentence)
    first_part = word not in ("after", "as", "before", "of", "since", "until")
    is_phrase = word in PREPOSITIONS and not re.match(r"At (most|least)\b", sentence)
    return is_phrase and not has_main_clause(sentence, first_part)


def is_headless(docstring: Docstring) -> bool:
    """Whether the first sentence is an interrogative clause without a noun it belongs to."""
    sentence = first_sentence(docstring)
    word = first_word(sentence)
    if word in ("when", "where"):
        return not has_main_clause(sentence, first_part=False)
    return word in INTERROGATIVES and not (word == "whether" and docstring.boolean)


def find_spans(package: Package) -> Iterator[tuple[Path, int, str, str]]:
    """Find what words are searched in: path, line, "id", "prose" or "string", and the text."""
    for source in package.sources:
        for part in source.path.relative_to(package.root).with_suffix("").parts:
            yield source.path, 1, "id", part
        for token in source.tokens:
            line, name = token.start[0], tokenize.tok_name[token.type]
            if name == "NAME" and not keyword.iskeyword(token.string):
                yield source.path, line, "id", token.string
            elif name == "COMMENT" or "STRING" in name:
                prose = name == "COMMENT" or line in source.docstring_lines
                for i, text in enumerate(token.string.splitlines()):
                    yield source.path, line + i, "prose" if prose else "string", text
    for path in package.markdown:
        for i, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield path, i, "prose", text


def find_words(package: Package, words: Sequence[Word]) -> list[Place]:
    """Find every match of the patterns. In prose, those for identifiers apply to `code` only."""
    found: list[Place] = []
    known: dict[str, list[str]] = {}
    for path, line, kind, text in find_spans(package):
        if kind == "id":
            if text not in known:
                forms = {text, WORD_BREAK.sub(" ", text)}
                patterns = [p for p, scope in words if scope != "prose"]
                known[text] = [text for p in patterns if any(map(p.search, forms))]
            found += [(path, line, name) for name in known[text]]
        elif kind == "prose" or package.strings:
            code = " ".join(re.findall(r"`([^`]+)`", text))
            matches = [m[0] for p, s in words for m in p.finditer(code if s == "id" else text)]
            found += [(path, line, f"{match}  <- {text.strip()}") for match in matches]
    return found


def count_modules(package: Package) -> Counter[Path]:
    """Count the modules of each folder that holds Python files."""
    count: Counter[Path] = Counter()
    for path in (s.path for s in package.sources):
        count[path.parent] += not re.match(r"__|conftest|test_|.*_test\.py", path.name)
    return count


def count_code(source: Source) -> int:
    """Count the lines that hold code: no docstring, comment or blank."""
    used: set[int] = set()
    for token in source.tokens:
        name = tokenize.tok_name[token.type]
        docstring = name == "STRING" and token.start[0] in source.docstring_lines
        if name not in NOT_CODE and not docstring:
            used.update(range(token.start[0], token.end[0] + 1))
    return sum(source.lines[n - 1].strip() != "" for n in used)


def is_typed(function: Function) -> bool:
    """Whether the return and all parameters but `self` and `cls` are annotated."""
    a = function.args
    named = a.posonlyargs + a.args + a.kwonlyargs + [v for v in (a.vararg, a.kwarg) if v]
    parameters = [p for i, p in enumerate(named) if i or p.arg not in ("self", "cls")]
    return function.returns is not None and all(p.annotation for p in parameters)


def find_public(node: ast.AST) -> Iterator[Function | ast.ClassDef]:
    """Find public classes, functions and methods; overloads and setters are not counted again."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            decorators = " ".join(map(ast.unparse, child.decorator_list))
            if not child.name.startswith("_") and not re.search(r"overload|\.setter", decorators):
                yield child
                if isinstance(child, ast.ClassDef):
                    yield from find_public(child)
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from find_public(child)


FINDERS: dict[str, Callable[[Source], list[tuple[int, str]]]] = {
    "dangling": lambda s: [(d.lines[0], first_sentence(d)) for d in s.docstrings if is_dangling(d)],
    "headless": lambda s: [(d.lines[0], first_sentence(d)) for d in s.docstrings if is_headless(d)],
    "undocumented": lambda s: [(at, name) for at, name, n in s.public if not ast.get_docstring(n)],
    "untyped": lambda s: [
        (at, name) for at, name, n in s.public if isinstance(n, Function) and not is_typed(n)
    ],
    "long-functions": lambda s: [
        (line, f"{name}: {n} lines") for line, name, n in s.functions if n > MAX_FUNCTION_LINES
    ],
    "long-files": lambda s: [(1, f"{n} lines") for n in [len(s.lines)] if n > MAX_FILE_LINES],
}
KINDS = [*FINDERS, "big-folders", "small-folders", "british", "words"]


def find(package: Package, kind: str) -> list[Place]:
    """Find the places of one of `KINDS`."""
    if kind in ("british", "words"):
        return find_words(package, package.words if kind == "words" else [(BRITISH, "")])
    if kind in ("big-folders", "small-folders"):
        wrong = range(1, MIN_MODULES) if kind == "small-folders" else range(MAX_MODULES + 1, 9999)
        folders = count_modules(package).items()
        return [(f, 1, f"{n} modules") for f, n in folders if n in wrong]
    return [(s.path, line, text) for s in package.sources for line, text in FINDERS[kind](s)]


def spread(values: Sequence[int]) -> str:
    """Return median, 90th percentile and maximum of some numbers of lines."""
    ordered = sorted(values) or [0]
    return f"{statistics.median(ordered):.0f} / {ordered[len(ordered) * 9 // 10]} / {ordered[-1]}"


def count_rows(package: Package) -> dict[str, object]:
    """Count what the table shows of a package: its rows by label."""
    found = {kind: len(find(package, kind)) for kind in KINDS}
    folders = count_modules(package)
    public = [n for s in package.sources for _, _, n in s.public]
    public_functions = sum(isinstance(n, Function) for n in public)
    lengths = [n for s in package.sources for _, _, n in s.functions]
    return {
        "loose modules at the top": folders[package.root],
        "folders": len(folders),
        "modules a folder, max": max(folders.values(), default=0),
        f"folders with more than {MAX_MODULES} modules": found["big-folders"],
        f"folders with 1 to {MIN_MODULES - 1} modules": found["small-folders"],
        "lines of code (no docstrings, comments, blanks)": sum(map(count_code, package.sources)),
        "files": len(package.sources),
        "lines a file: median / p90 / max": spread([len(s.lines) for s in package.sources]),
        f"files over {MAX_FILE_LINES} lines": found["long-files"],
        "functions": len(lengths),
        "lines a function: median / p90 / max": spread(lengths),
        f"functions over {MAX_FUNCTION_LINES} lines": found["long-functions"],
        "public functions fully typed": f"{1 - found['untyped'] / (public_functions or 1):.1%}",
        "public API with a docstring": f"{1 - found['undocumented'] / (len(public) or 1):.1%}",
        "docstrings": sum(len(s.docstrings) for s in package.sources),
        "docstrings with a dangling preposition": found["dangling"],
        "docstrings with a headless clause": found["headless"],
        "British spellings": found["british"],
        "words of the list": found["words"] if package.words else "–",
    }


def main() -> None:
    """Print the table or, with --list, the places to mend."""
    parser = argparse.ArgumentParser(description="Figures of Python packages, as Markdown.")
    parser.add_argument("package", nargs="+", type=Path, help="folder of Python files")
    parser.add_argument("--words", type=Path, metavar="FILE", help="word list, one regex a line")
    parser.add_argument("--strings", action="store_true", help="search string literals for words")
    parser.add_argument("--list", choices=KINDS, help="print places, not the table")
    arguments = parser.parse_args()
    if arguments.list == "words" and not arguments.words:
        parser.error("--list words needs --words FILE")
    words = read_words(arguments.words) if arguments.words else []
    packages = [read_package(p, words, arguments.strings) for p in arguments.package]
    if arguments.list:
        for path, line, text in (place for p in packages for place in find(p, arguments.list)):
            print(f"{path}:{line}: {text}")
        return
    columns = [count_rows(p) for p in packages]
    print("|", *(f"| {p.root.resolve().name}" for p in packages), "|")
    print("|---|" + "---:|" * len(packages))
    for row in columns[0]:
        print(f"| {row}", *(f"| {column[row]}" for column in columns), "|")


if __name__ == "__main__":
    main()
