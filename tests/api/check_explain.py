"""Every error that the programs of this tree can answer with or react to is explained by kvg explain.

    check_explain.py KVG SOURCE_FOLDER
"""
import json
import os
import re
import subprocess
import sys

kvg, folder = sys.argv[1:]
names = set()
for path, folders, files in os.walk(folder):
    if "panoramasdk" in folders:
        folders.remove("panoramasdk")  # its exceptions are those of Python applications
    for name in files:
        if name.endswith(".c") and not name.startswith("explain"):
            with open(os.path.join(path, name)) as source:
                names |= set(re.findall(r'"([A-Z][A-Za-z]+Exception)[":]', source.read()))
assert len(names) > 10, names
done = subprocess.run([kvg, "explain", "--output=json", *sorted(names)], capture_output=True, text=True)
unknown = [entry["code"] for entry in json.loads(done.stdout) if not entry["explanations"]]
print(f"{len(names)} errors, not explained: {unknown}")
sys.exit(done.returncode or bool(unknown))
