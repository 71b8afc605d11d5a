"""Read policy bundles from disk; check, test, build policy folders with the `opa` program."""

from broker.adapters.policy_files.bundles import build_bundle, load_bundle
from broker.adapters.policy_files.checks import check_folder, modes_of
from broker.adapters.policy_files.formatting import formatted
from broker.adapters.policy_files.testing import run_tests

__all__ = ["build_bundle", "check_folder", "formatted", "load_bundle", "modes_of", "run_tests"]
