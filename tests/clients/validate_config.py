"""Validates TOML files with a JSON schema: validate_config.py SCHEMA FILE…"""

import json
import sys
import tomllib

import jsonschema

with open(sys.argv[1]) as file:
    schema = json.load(file)
validator = jsonschema.validators.validator_for(schema)
validator.check_schema(schema)
failed = False
for path in sys.argv[2:]:
    with open(path, "rb") as file:
        config = tomllib.load(file)
    for error in validator(schema).iter_errors(config):
        print(f"{path}: {error.json_path}: {error.message}")
        failed = True
sys.exit(failed)
