"""The command line: `srgan COMMAND`.

Commands import what they need when they run. `srgan --help` therefore starts in a fraction of a second.
"""
