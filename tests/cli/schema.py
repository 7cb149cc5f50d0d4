"""Holds TOML files against a JSON Schema by Python's `jsonschema`: schema.py SCHEMA FILE …

Prints a line for each that does not fit, and one for the schema where it is none. Exit code 1 where there is a line.
"""
import json
import sys
import tomllib

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
jsonschema.Draft7Validator.check_schema({k: v for k, v in schema.items() if k != "$schema"})
wrong = 0
for name in sys.argv[2:]:
    with open(name, "rb") as file:
        config = tomllib.load(file)
    # Editors read it as draft 7, so both readings have to agree.
    found = [next(v(schema).iter_errors(config), None)
             for v in (jsonschema.Draft202012Validator, jsonschema.Draft7Validator)]
    if (found[0] is None) != (found[1] is None):
        print(f"{name}: draft 7 and 2020-12 disagree")
    if found[0] is not None:
        worst = jsonschema.exceptions.best_match([found[0]])
        print(f"{name}: {'.'.join(str(p) for p in worst.absolute_path)}: {worst.message[:200]}")
    wrong += found[0] is not None or found[1] is not None
sys.exit(1 if wrong else 0)
