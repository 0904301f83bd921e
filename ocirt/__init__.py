"""ocirt: an OCI low-level container runtime that compiles a container to a program."""

__version__ = "0.1.0"
SPEC_VERSION = "1.3.0"
