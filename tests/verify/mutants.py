"""Take one check at a time out of the verifier; see which of them no kept vector misses.

As a program it does so in a process of its own, as it imports the verifier again and again: `python
-m tests.verify.mutants`; with `mixed` behind it, of logs of every kind alone. What is taken out is
found in the syntax of the modules:

- a statement that raises, and each `or` of the condition that it stands under;
- a `return` of a fault, or of False from what answers yes or no, and each `and` of such an answer;
- each `and` of a comprehension's filter;
- a call of a function whose answer nobody takes: it can do nothing but check.
"""

import ast
import copy
import importlib.abc
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from tests.verify.suite import Record, expected, judge, records

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    *("broker.core.checkpoint", "broker.core.dsse", "broker.core.log_proof"),
    *("broker.core.merkle", "broker.core.merkle_proof", "broker.core.root_change"),
    *("broker.core.root_statement", "broker.core.signed_note", "broker.core.strict_base64"),
    *("broker.core.tiles", "broker.core.trust_root"),
    *("broker.verify.audit", "broker.verify.audit_state", "broker.verify.call_set"),
    *("broker.verify.chain", "broker.verify.claims", "broker.verify.documents"),
    *("broker.verify.entry", "broker.verify.evidence", "broker.verify.log"),
    *("broker.verify.log_folder", "broker.verify.receipt", "broker.verify.run_facts"),
    *("broker.verify.shape", "broker.verify.signature", "broker.verify.spread"),
    *("broker.verify.trust_root", "broker.verify.verdict", "broker.verify.walk"),
)
ALONE = ("broker.verify.entry", "broker.verify.run_facts", "broker.verify.walk")
"""What only logs of every kind come to, so the vectors of these suffice."""
MAKERS = {
    *("Tile.__post_init__", "consistency_proof", "envelope", "inclusion_proof", "verifier_key"),
    *("write_note", "ed25519_pem", "_Audit.origin", "_gap"),
    *("statement_of", "with_signature", "_ended", "_tell"),
    # It chooses who verifies, not what is verified.
    "Judges._send",
    # They tell the type checker what an earlier step made sure of.
    *("Evidence.key", "Evidence.said", "Evidence.wrapped", "_mapping", "listed"),
}
"""What writes, names places, words a message: nothing that is verified is decided by it."""
TRUE, FALSE = ast.Constant(value=True), ast.Constant(value=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A module without one check.

    Args:
        check: The source of what was taken out, on one line.
    """

    module: str
    function: str
    check: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Name the check."""
        return f"{self.module}.{self.function}: {self.check}"


def mutants(module: str) -> Iterator[Mutant]:
    """Disable each check of a module, one by one."""
    whole = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())
    for path, new in _changes(whole):
        function = _function(whole, path)
        if function in MAKERS:
            continue
        tree = copy.deepcopy(whole)
        old = _put(tree, path, new)
        check = " ".join(ast.unparse(old).split())
        yield Mutant(
            module=module, function=function, check=check, tree=ast.fix_missing_locations(tree)
        )


Path_ = tuple[tuple[str, int | None], ...]


def _changes(
    tree: ast.AST, path: Path_ = (), answers: bool = False
) -> Iterator[tuple[Path_, ast.AST]]:
    """List where to put what."""
    if isinstance(tree, ast.FunctionDef):
        answers = isinstance(tree.returns, ast.Name) and tree.returns.id == "bool"
    for place, child in _children(tree):
        here = (*path, place)
        match child:
            case (
                ast.Raise()
                | ast.Return(value=ast.Tuple(elts=[ast.JoinedStr() | ast.Constant(), *_]))
            ):
                yield here, ast.Pass()
            case ast.Expr(value=ast.Call(func=ast.Name())):
                yield here, ast.Pass()
            case ast.Return(value=ast.Constant(value="")):
                pass  # No fault: nothing is refused by it.
            case ast.Return(value=ast.JoinedStr() | ast.Constant(value=str())):
                yield here, ast.Return(value=ast.Constant(value=None))
            case ast.Return(value=ast.Constant(value=False)):
                yield here, ast.Return(value=TRUE)
            case ast.Return(value=ast.IfExp(orelse=orelse)):
                yield here, ast.Return(value=orelse)
            case ast.Return(value=ast.BoolOp(op=ast.And(), values=values)) if answers:
                yield from _each((*here, ("value", None)), values, TRUE)
            case ast.If(test=ast.BoolOp(op=ast.Or(), values=values)) if _refuses(child):
                yield from _each((*here, ("test", None)), values, FALSE)
            case ast.If(body=[ast.Return(value=ast.Tuple()), *_]):
                yield here, ast.Pass()
                continue
            case ast.comprehension(ifs=[ast.BoolOp(op=ast.And(), values=values)]):
                yield from _each((*here, ("ifs", 0)), values, TRUE)
        yield from _changes(child, here, answers)


def _refuses(node: ast.If) -> bool:
    """Tell whether an `if` does nothing but refuse."""
    return isinstance(node.body[0], ast.Raise | ast.Return)


def _each(
    path: Path_, values: Sequence[ast.expr], neutral: ast.expr
) -> Iterator[tuple[Path_, ast.AST]]:
    for index in range(len(values)):
        yield (*path, ("values", index)), neutral


def _children(tree: ast.AST) -> Iterator[tuple[tuple[str, int | None], ast.AST]]:
    for name, value in ast.iter_fields(tree):
        if isinstance(value, ast.AST):
            yield (name, None), value
        elif isinstance(value, list):
            yield from (
                ((name, index), each)
                for index, each in enumerate(value)
                if isinstance(each, ast.AST)
            )


def _put(tree: ast.AST, path: Path_, new: ast.AST) -> ast.AST:
    """Put a node into a place; give what was there."""
    for name, index in path[:-1]:
        value = getattr(tree, name)
        tree = value if index is None else value[index]
    name, index = path[-1]
    if index is None:
        old = getattr(tree, name)
        setattr(tree, name, new)
    else:
        items = getattr(tree, name)
        old, items[index] = items[index], new
    assert isinstance(old, ast.AST)
    return old


def _function(tree: ast.AST, path: Path_) -> str:
    found = ""
    for name, index in path:
        value = getattr(tree, name)
        tree = value if index is None else value[index]
        if isinstance(tree, ast.FunctionDef | ast.ClassDef):
            found = f"{found}.{tree.name}".removeprefix(".")
    return found


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import a mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """Give the mutant where its module is asked for."""
        if fullname != self._mutant.module:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant."""
        exec(compile(self._mutant.tree, self._mutant.name, "exec"), module.__dict__)


def is_missed(mutant: Mutant, kept: list[Record]) -> bool:
    """Tell whether some vector comes to another verdict or step without the check.

    That vector is put first: it is likely to be about the next check, too.
    """
    _forget()
    finder = _Finder(mutant)
    sys.meta_path.insert(0, finder)
    try:
        for place, record in enumerate(kept):
            if not _holds(record):
                kept.insert(0, kept.pop(place))
                return True
        return False
    finally:
        sys.meta_path.remove(finder)


def _holds(record: Record) -> bool:
    try:
        return judge(record) == expected(record)
    except Exception:
        return False


def _forget() -> None:
    """Let the verifier be imported anew."""
    for name in [name for name in sys.modules if name == "broker" or name.startswith("broker.")]:
        del sys.modules[name]


def main(modules: Sequence[str] = MODULES, *files: str) -> None:
    """Print, as JSON, every check with whether it is missed.

    Args:
        modules: Those whose checks are taken out.
        files: Of the vectors that may miss one; none: all.
    """
    kept = records(*files)
    whole = [mutant for module in modules for mutant in mutants(module)]
    print(json.dumps([[mutant.name, is_missed(mutant, kept)] for mutant in whole], indent=1))


if __name__ == "__main__":
    if sys.argv[1:] == ["mixed"]:
        main(ALONE, "mixed_logs.json")
    else:
        main()
