"""The parameters: their schema, the YAML reader, the profiles."""
