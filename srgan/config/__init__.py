"""The configuration: every option is declared here, once, with its type, default, range and sentence."""
