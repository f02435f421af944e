"""The networks: one file each and a registry."""
