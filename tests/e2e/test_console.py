"""The console in Chromium: every control, at desktop and at phone size, and what axe-core finds."""
import json
import os
import subprocess

import kvgtest

site = kvgtest.Site()
site.start_server()
site.start_cameras(2, width=640, height=360, fps=10)
site.write_config()
site.provision()
site.start_agent()
site.wait_live()
folder = os.environ.get("KVG_SCREENSHOTS", site.folder)
browser = subprocess.run(
    ["node", os.path.join(os.path.dirname(os.path.abspath(__file__)), "console.mjs"),
     f"http://127.0.0.1:{site.agent.ready['api_port']}/", folder, *site.names],
    capture_output=True, text=True, timeout=400)
assert browser.returncode == 0, browser.stderr
seen = json.loads(browser.stdout)
print(json.dumps(seen, indent=1))
assert "failed" not in seen, seen["failed"]
assert seen["errors"] == [], seen["errors"]
assert seen["findings"] == [], seen["findings"]
