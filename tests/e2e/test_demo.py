"""kvg demo, the main job: a minute of four cameras, watched in a browser."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import kvgtest

DURATION_S = 60
folder = tempfile.mkdtemp(prefix="kvg-e2e-")
demo = subprocess.Popen(
    [os.path.join(kvgtest.BUILD, "kvg"), "demo", "--cameras", "4", "--duration", str(DURATION_S),
     "--data", os.path.join(folder, "data"), "--http-port", "0", "--output", "json"],
    stdout=subprocess.PIPE, text=True, env=kvgtest.clean_environment())
try:
    ready = json.loads(demo.stdout.readline())
    names = ready["cameras"]
    assert len(names) == 4, ready
    browser = subprocess.run(
        ["node", os.path.join(os.path.dirname(__file__), "browser.mjs"), ready["console_url"],
         os.environ.get("KVG_SCREENSHOTS", folder), *names],
        capture_output=True, text=True, timeout=300)
    assert browser.returncode == 0, browser.stderr
    seen = json.loads(browser.stdout)
    print(browser.stdout)
    for name in names:
        assert seen["cameras"][name]["problem"] == "", (name, seen["cameras"][name])
        assert (seen["cameras"][name]["width"], seen["cameras"][name]["height"]) == (1280, 720)
    assert seen["foreign"] == [], "the page asked another host"
    assert seen["errors"] == [], seen["errors"]

    output = demo.stdout.read()
    assert demo.wait(timeout=120) == 0
    done = json.loads(output.splitlines()[-1])
    print(output)
    assert done["done"] and len(done["cameras"]) == 4
    for camera in done["cameras"]:
        assert camera["media_ms_persisted"] >= 50000, camera
        assert camera["frames_dropped"] == 0, camera
        assert 0 < camera["first_persisted_ms"], camera
        assert camera["fragments_persisted"] > 0 and camera["bytes"] > 0, camera
finally:
    if demo.poll() is None:
        demo.terminate()
        demo.wait(timeout=120)
    if sys.exc_info()[0] is not None:
        logs = os.path.join(folder, "data", "logs")
        for name in sorted(os.listdir(logs)) if os.path.isdir(logs) else []:
            print("----", name, open(os.path.join(logs, name), errors="replace").read()[-3000:])
    shutil.rmtree(folder, ignore_errors=True)
