"""Name a fault of a policy with its place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PolicyFinding:
    """One fault.

    Args:
        file: Relative to the policy folder; empty where the fault has no file.
        line: From 1; 0 where the fault has no line.
        rule: Which check found it, such as `opa-fmt` or `rego_type_error`.
        message: What is wrong, what to do.
    """

    file: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        """Write it on one line, as compilers do."""
        place = ":".join(filter(None, (self.file, str(self.line or ""))))
        return ": ".join(filter(None, (place, self.rule, self.message)))
