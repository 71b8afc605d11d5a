"""Hold what the Rego tests of a policy came to."""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.core.policy_finding import PolicyFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTests:
    """The outcome of all tests together; they passed where there is no finding.

    Args:
        findings: Failed tests, or lines that none reaches where too few are reached.
        coverage: Percent of the lines that the tests reach, by folder of rules; empty where a
            test failed.
    """

    findings: tuple[PolicyFinding, ...]
    coverage: Mapping[str, float]
