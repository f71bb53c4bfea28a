"""libkvg as others see it: it exports what libkvg.symbols lists and nothing else; that is what the public
headers declare, each function with a comment of its own; and each header compiles alone, as C and C++.

    check_api.py LIBRARY HEADER_FOLDER SYMBOLS
"""
import os
import re
import shlex
import subprocess
import sys

library, folder, symbols = sys.argv[1:]
failures = []


def expect(condition, text):
    if not condition:
        failures.append(text)


def run(*arguments, **more):
    return subprocess.run(arguments, capture_output=True, text=True, **more)


# ---- symbols
listed = open(symbols).read().split()
expect(listed == sorted(set(listed)), "libkvg.symbols is not sorted, or a name stands twice")
table = run("nm", "-D", "--defined-only", library)
expect(table.returncode == 0, table.stderr)
exported = {}
for line in table.stdout.splitlines():
    _, kind, name = line.split()
    exported[name.split("@")[0]] = kind
expect(exported.pop("KVG_0", None) == "A", "the version KVG_0 is not defined")
for name in sorted(set(exported) ^ set(listed)):
    expect(False, f"{name}: {'exported, not listed' if name in exported else 'listed, not exported'}"
                  " (tests/api/libkvg.symbols, include/kvg/libkvg.map)")

# ---- headers: declarations and their comments
headers = sorted(name for name in os.listdir(folder) if name.endswith(".h"))
text = {name: open(os.path.join(folder, name)).read() for name in headers}
declared = set()
for name in headers:
    code = re.sub(r"/\*.*?\*/", "", text[name], flags=re.S)
    code = re.sub(r"^#define .*?(?<!\\)$", "", code, flags=re.M)
    declared |= {f for f in re.findall(r"\b(kvg_\w+)\s*\(", code)}
    expect("#pragma once" in text[name], f"{name}: no #pragma once")
    for included in re.findall(r"#include [<\"](.*?)[>\"]", text[name]):
        expect(re.match(r"kvg/|glib\.h$|std\w+\.h$", included), f"{name}: includes {included}")
for name in sorted(declared ^ set(listed)):
    expect(False, f"{name}: {'declared, not exported' if name in declared else 'exported, not declared'}")
for function in listed:
    comment = re.search(r"/\*\*\n \* %s:\n(.*?)\*/" % function, "".join(text.values()), re.S)
    expect(comment, f"{function}: no comment of its own in the headers")
    expect(comment is None or "Thread:" in comment.group(1), f"{function}: its comment names no thread")

# ---- headers: alone
flags = shlex.split(run("pkg-config", "--cflags", "glib-2.0").stdout.replace("-I", "-isystem"))
includes = ["-I", os.path.dirname(os.path.abspath(folder))]
for language, compiler, standard in (("c", os.environ.get("CC", "cc"), "c11"),
                                     ("c++", os.environ.get("CXX", "c++"), "c++11")):
    for name in headers:
        done = run(*shlex.split(compiler), "-fsyntax-only", "-x", language, "-std=" + standard, "-Wall",
                   "-Wextra", "-Wpedantic", "-Werror", *includes, *flags, "-",
                   input=f"#include <kvg/{name}>\nint kvg_unused;\n")
        expect(done.returncode == 0, f"{name} alone as {language}:\n{done.stderr}")

print("\n".join(failures) or f"{len(listed)} functions, {len(headers)} headers")
sys.exit(bool(failures))
