"""Get policy bundles from where a security team puts them: a folder, an OPA bundle server."""

from broker.adapters.bundle_sources.confirmation import ConfirmationFile
from broker.adapters.bundle_sources.folder import FILE_NAME, WatchedFolder
from broker.adapters.bundle_sources.server import Bearer, BundleServer

__all__ = ["FILE_NAME", "Bearer", "BundleServer", "ConfirmationFile", "WatchedFolder"]
