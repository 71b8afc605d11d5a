"""The command line, one file per noun."""

import os

# Before grpc is loaded: its own log repeats on standard error what our one line says with a remedy.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
