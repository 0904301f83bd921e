"""CRIU's RPC (images/rpc.proto of CRIU): it freezes processes into files, and makes them again."""
