"""The fleet file: from YAML to frozen settings, every mistake named with file and line.

Nothing is imported here: `virtfleet --help` must not pay for YAML.
"""
