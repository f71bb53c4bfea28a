#!/usr/bin/env python3
"""Eight cameras of which each misbehaves in turn, while the others must not notice.

    chaos.py [--seconds 90] [--seed N]

Every fault must show as the state and the reason that docs/internals/agent.md promises, and be over some time after its
cause is. At the end the server's recordings are read: outside of the time of its own faults, no camera
may have a gap, another session, another process or a state that is not live."""
import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import kvgtest  # noqa: E402
from faults import FAULTS, SHOP, USUAL  # noqa: E402

CAMERAS = 8
# What a fault's window is wider than the fault: frames and fragments under way when it begins.
BEFORE_S = 3
PATIENCE_S = 90


class Site(kvgtest.Site):
    def start_cameras(self):
        secret = self.path("camera-password")
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
            out.write("p$ss word")
        self.cameras = kvgtest.Program(self, "testcam", [
            "kvg-testcam", "--cameras", str(CAMERAS), "--port", "0", "--username", "viewer", "--password-file",
            secret, "--width", "320", "--height", "176", "--fps", "10", "--bitrate", "200", "--loop", "--control"],
            stdin=subprocess.PIPE)
        self.names = [camera["name"] for camera in self.cameras.ready["cameras"]]
        self.lock = threading.Lock()

    def write_config(self):
        lines = ["workers: per-camera", f"region: {kvgtest.REGION}", f"endpoint: {self.endpoint}",
                 f"ca_bundle: {self.path('server/ca.pem')}", "identity: { directory: certs }",
                 "spool: { path: spool, limit: 1GiB, memory_path: memory }",
                 "api: { address: 127.0.0.1, port: 0 }", "cameras:"]
        for camera in self.cameras.ready["cameras"]:
            more = ", rtsp: { transport: udp }" if camera["name"] == "roof" else ""
            lines.append(f"  {camera['name']}: {{ source: \"{camera['url']}\", username: viewer, "
                         f"password_file: camera-password{more} }}")
        with open(self.path("kvg.yaml"), "w") as out:
            out.write("\n".join(lines) + "\n")

    def start_agent(self):
        os.mkdir(self.path("chaos"))
        usual = self.environment
        self.environment = dict(usual, KVG_CHAOS=self.path("chaos"), LD_PRELOAD=os.path.join(
            kvgtest.BUILD, "tests/chaos/libchaos-decoder.so"))
        super().start_agent()
        self.environment = usual

    def tell(self, camera, **what):
        """To a test camera."""
        with self.lock:
            self.cameras.process.stdin.write((json.dumps({"camera": camera, **what}) + "\n").encode())
            self.cameras.process.stdin.flush()
            answer = json.loads(self.cameras.process.stdout.readline())
        assert answer["ok"], answer


    def switch(self, camera, on):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.agent.ready['api_port']}/api/cameras/{camera}", method="PATCH",
            data=json.dumps({"streaming": on}).encode(), headers={"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()


class Watcher(threading.Thread):
    """What the agent says about each camera, whenever it says something else."""
    FIELDS = ("state", "reason", "sessions", "process", "width", "codec", "restarts")

    def __init__(self, site):
        super().__init__(daemon=True)
        self.site, self.ending = site, threading.Event()
        self.history = {name: [] for name in site.names}
        self.changed = threading.Condition()

    def run(self):
        while not self.ending.wait(0.2):
            status = self.site.status()
            with self.changed:
                for name, camera in status.items():
                    seen = {field: camera.get(field) for field in self.FIELDS}
                    mine = self.history[name]
                    if not mine or {**mine[-1], "at": 0} != {**seen, "at": 0}:
                        mine.append({**seen, "at": time.time()})
                self.changed.notify_all()

    def wait(self, name, since, condition, patience_s=PATIENCE_S):
        """The first of what was said about @name since then for which condition() holds; or None."""
        end = time.monotonic() + patience_s
        with self.changed:
            while True:
                for seen in self.since(name, since):
                    if condition(seen):
                        return seen
                if time.monotonic() > end or not self.is_alive():
                    return None
                self.changed.wait(1)

    def since(self, name, since):
        """All of it, beginning with what held at that time."""
        history = self.history[name]
        before = [seen for seen in history if seen["at"] <= since]
        return before[-1:] + [seen for seen in history if seen["at"] > since]


class Run:
    def __init__(self, site, watcher, seconds, seed):
        self.site, self.watcher, self.seconds, self.seed = site, watcher, seconds, seed
        self.windows = {name: [] for name in site.names}  # [begin, end, loses, is_steady]
        self.failures, self.done = [], []
        self.end = time.monotonic() + seconds

    def complain(self, text):
        print("FAILED " + text, flush=True)
        self.failures.append(text)

    def inflict(self, name, fault):
        """One fault, from its cause to the end of what it did."""
        began = time.time()
        window = [began - BEFORE_S, None, fault.loses, fault.is_steady]
        self.windows[name].append(window)
        before = self.site.status()[name]
        fault.begin(self.site, name)
        seen = self.watcher.wait(name, began, lambda seen: fault.is_seen(seen, before), fault.seen_s)
        took = time.time() - began
        if seen is None:
            said = [(s["state"], s["reason"]) for s in self.watcher.since(name, began)]
            self.complain(f"{name}, {fault.name}: did not show within {fault.seen_s} s, said: {said}")
        time.sleep(max(0, fault.least_s - took))
        fault.finish(self.site, name)
        over = time.time()
        # A state from before its cause ended does not count: there must be frames after it.
        def is_back():
            camera = self.site.status()[name]
            return camera["state"] == "live" and fault.is_over(camera) and self.persists(name, camera, over)
        try:
            kvgtest.wait_for(f"{name} after {fault.name}", is_back, fault.back_s)
        except AssertionError:
            said = [(s["state"], s["reason"]) for s in self.watcher.since(name, over)]
            self.complain(f"{name}, {fault.name}: not back within {fault.back_s} s, said: {said}")
        window[1] = time.time() + fault.after_s
        shown = seen and {field: seen[field] for field in ("state", "reason")}
        print(f"{time.strftime('%H:%M:%S', time.gmtime(began))} {name}, {fault.name}: shown after {took:.1f} s as {shown}, "
              f"back {time.time() - over:.1f} s after its end", flush=True)
        self.done.append(fault.name)

    def persists(self, name, camera, since):
        return (camera.get("last_persisted_age_ms", -1) >= 0 and
                time.time() - camera["last_persisted_age_ms"] / 1000 > since + 0.5)

    def run_camera(self, name, chance, plan):
        """The faults of the plan once; then any of them with pauses, until the time is over."""
        try:
            for pause_s, fault in plan:
                time.sleep(pause_s)
                self.inflict(name, FAULTS[fault])
            kinds = SHOP if name == "shop" else USUAL
            while True:
                pause_s = chance.uniform(15, 40)
                if time.monotonic() + pause_s + PATIENCE_S > self.end:
                    return
                time.sleep(pause_s)
                self.inflict(name, FAULTS[chance.choice(kinds)])
        except Exception as error:  # a thread's end must not go unnoticed
            self.complain(f"{name}: {type(error).__name__}: {error}")

    def run(self, plans):
        threads = [threading.Thread(target=self.run_camera, args=(
            name, random.Random(f"{self.seed} {name}"), plans[name])) for name in self.site.names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(max(6, self.end - time.monotonic()))

    # ---- the others

    def may_change(self, name, at):
        return any(begin <= at <= (end or at) and not is_steady for begin, end, _, is_steady in self.windows[name])

    def may_lack(self, name, at):
        return any(begin <= at <= (end or at) and loses for begin, end, loses, _ in self.windows[name])

    def check_states(self, name, began):
        last = None
        for seen in self.watcher.since(name, began):
            if last is not None and not self.may_change(name, seen["at"]):
                if seen["state"] != "live":
                    self.complain(f"{name}: {seen['state']} ({seen['reason']}) without a fault of its own")
                for field in ("sessions", "process"):
                    if seen[field] != last[field]:
                        self.complain(f"{name}: another of its {field} without a fault of its own: "
                                      f"{last[field]} -> {seen[field]}")
            last = seen

    def check_recording(self, name, began, ended):
        entries = [entry for entry in recorded(self.site, name) if entry[1] + entry[2] > began]
        gaps = [gap for gap in kvgtest.find_gaps(entries) if gap[0] < ended]
        for begin, end in gaps:
            if not self.may_lack(name, begin):
                self.complain(f"{name}: {end - begin:.1f} s are missing, {begin - began:.1f} s after the beginning "
                              f"({time.strftime('%H:%M:%S', time.gmtime(begin))}), without a fault of its own")
        for _, start, length in entries:
            if not began - 60 < start < ended + 60:
                self.complain(f"{name}: a fragment {start - began:.1f} s after the beginning")
        own = sum(min(end, ended) - max(begin, began) for begin, end, _, _ in self.windows[name])
        if max((start + length for _, start, length in entries), default=0) < ended - 5:
            self.complain(f"{name}: its recording does not reach the end")
        return len(gaps), own

    def check(self, began, ended):
        for name in self.site.names:
            self.check_states(name, began)
            gaps, own = self.check_recording(name, began, ended)
            print(f"{name}: {len(self.windows[name])} faults in {own:.0f} of {ended - began:.0f} s, "
                  f"{gaps} gaps in its recording", flush=True)


def recorded(site, name):
    """[(fragment number, start in s, length in s)], all that is stored."""
    archive = site.client("kinesis-video-archived-media")
    pages = archive.get_paginator("list_fragments").paginate(StreamName=name, FragmentSelector={
        "FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": time.time() - 86400, "EndTimestamp": time.time() + 60}})
    return [(f["FragmentNumber"], f["ProducerTimestamp"].timestamp(), f["FragmentLengthInMilliseconds"] / 1000)
            for page in pages for f in page["Fragments"]]


def show_log(site, names):
    """What the agent said about the cameras that failed."""
    with open(site.path("agent.log"), errors="replace") as log:
        for line in log:
            if any(f"camera {name}" in line for name in names):
                print(line.rstrip())


# Seconds of calm, then a fault. In 90 s each happens once, some side by side.
PLANS = {
    "gate": [(5, "reboot"), (12, "worker killed")],
    "dock": [(12, "hang")],
    "lobby": [(3, "wrong password"), (10, "cut")],
    "yard": [(8, "garbage")],
    "stairs": [(3, "frozen clock"), (10, "clock jump")],
    "garage": [(6, "resolution"), (10, "codec")],
    "roof": [(10, "packet loss")],
    "shop": [(4, "decoder crashes"), (8, "decoder never returns")],
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=90)
    parser.add_argument("--seed", default=str(random.randrange(10000)))
    parser.add_argument("--only", help="names of cameras, with commas between them")
    options = parser.parse_args()
    site = Site()
    site.start_server()
    site.start_cameras()
    site.write_config()
    site.provision()
    site.start_agent()
    site.wait_live()
    watcher = Watcher(site)
    watcher.start()
    run = Run(site, watcher, options.seconds, options.seed)
    began = time.time()
    plans = {name: plan if not options.only or name in options.only.split(",") else []
             for name, plan in PLANS.items()}
    run.run(plans)
    ended = time.time()
    if not watcher.is_alive():
        run.complain("the agent's API stopped answering")
    watcher.ending.set()
    watcher.join()
    time.sleep(3)
    run.check(began, ended)
    if run.failures:
        show_log(site, {name for name in site.names for failure in run.failures if failure.startswith(name)})
    print(f"chaos: {len(run.done)} faults, {len(run.failures)} failures, seed {options.seed}")
    for failure in run.failures:
        print("  " + failure)
    site.agent.stop()
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
