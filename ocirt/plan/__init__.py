"""The Plan: the flat program that a container is compiled to."""
