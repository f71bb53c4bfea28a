"""docs/kvg.schema.json is what `kvg check --schema` prints, accepts the examples of the documents and
refuses mistakes; every key has its place in docs/configuration.md."""
import copy
import glob
import json
import os
import re
import subprocess

import jsonschema
import yaml

SOURCE = os.environ["SOURCE"]
COMMAND = "kvg check --schema > docs/kvg.schema.json"


def document(name):
    with open(os.path.join(SOURCE, name)) as file:
        return file.read()


def examples():
    """Blocks marked yaml are of kvg.yaml; those of other programs are marked yml."""
    names = ["README.md"] + glob.glob("docs/**/*.md", root_dir=SOURCE, recursive=True)
    for name in names:
        for block in re.findall(r"^```yaml\n(.*?)^```", document(name), re.M | re.S):
            yield name, yaml.safe_load(block)


def keys(schema):
    """Every key that any mapping of the schema has."""
    if isinstance(schema, list):
        for item in schema:
            yield from keys(item)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        for name, item in schema.items():
            if name not in ("default", "enum"):
                yield from keys(item)


def tables(schema, path=()):
    """(path, schema) of every key that can be given, those of a camera as cameras.a.KEY."""
    for way in [schema] + schema.get("anyOf", []):
        for name, key in way.get("properties", {}).items():
            yield path + (name,), key
            yield from tables(key, path + (name,))
    if path == ("cameras",):
        yield from tables(schema["additionalProperties"], ("cameras", "a"))


def check_problems(schema):
    """A value that cannot be right is a problem with the key's name and place, whatever the key."""
    n = 0
    for path, key in tables(schema):
        kinds = [way.get("type") for way in [key] + key.get("anyOf", [])]
        wrong = "?" if "object" in kinds or "array" in kinds else [["x"]]
        config = {"region": "us-east-1", "cameras": {"a": {"source": "test:"}}}
        at = config
        for name in path[:-1]:
            at = at.setdefault(name, {})
        at[path[-1]] = wrong
        done = subprocess.run([os.environ["KVG"], "check", "-c", "/dev/stdin", "--output", "json"],
                              input=json.dumps(config), capture_output=True, text=True)
        problems = json.loads(done.stdout)["problems"]
        said = [p for p in problems if re.match(r"/dev/stdin:\d+:\d+: " + re.escape(".".join(path)) + r"\b", p)]
        assert done.returncode == 1 and said, (path, wrong, done.stdout, done.stderr)
        n += 1
    return n


def main():
    printed = subprocess.run([os.environ["KVG"], "check", "--schema"], capture_output=True, text=True,
                             check=True).stdout
    assert printed == document("docs/kvg.schema.json"), "the keys have changed; run: " + COMMAND
    schema = json.loads(printed)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    seen = list(examples())
    assert len(seen) >= 2, seen
    whole = None
    for name, example in seen:
        problems = [f"{name}: {'/'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(example)]
        # A part of a file, shown to explain a key, need not be a whole one.
        problems = [p for p in problems if "is a required property" not in p]
        assert not problems, problems
        if name == "docs/configuration.md" and "cameras" in example:
            whole = whole or example
    assert validator.is_valid(whole)

    for path, wrong in [(["regoin"], "x"), (["region"], "Frankfurt"), (["spool", "limit"], "lots"),
                        (["spool", "tier"], "tape"), (["api", "port"], 70000), (["cameras", "a b"], {}),
                        (["cameras", "gate", "source"], "ftp://x"), (["cameras", "gate", "streaming"], "maybe"),
                        (["cameras", "gate", "retention"], 24), (["cameras", "gate", "video"], "mpeg"),
                        (["defaults", "source"], "test:"), (["cameras", "gate"], {"streaming": True})]:
        changed = copy.deepcopy(whole)
        at = changed
        for name in path[:-1]:
            at = at.setdefault(name, {})
        at[path[-1]] = wrong
        assert not validator.is_valid(changed), (path, wrong)
    changed = copy.deepcopy(whole)
    changed["api"]["port"] = "${PORT}"
    assert validator.is_valid(changed)

    assert check_problems(schema) > 30

    words = set(re.findall(r"[A-Za-z0-9_]+", " ".join(re.findall(r"`([^`]*)`", document("docs/configuration.md")))))
    for name, key in keys(schema):
        assert name in words, f"docs/configuration.md says nothing about '{name}'"
        assert key["description"], name


main()
