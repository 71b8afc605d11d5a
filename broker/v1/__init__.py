"""Hold the generated messages; scripts/gen_protos.py writes this folder."""
