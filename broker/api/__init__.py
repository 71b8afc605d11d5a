"""gRPC in, gRPC out; no decisions."""
