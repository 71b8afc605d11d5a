"""A broker whose receipts are exported."""

from tests.conftest import development_folder, pytest_terminal_summary, serve

__all__ = ["development_folder", "pytest_terminal_summary", "serve"]
