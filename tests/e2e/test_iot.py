"""Device shadows and the broker, by AWS's own tools and by mosquitto's: what a camera may do with its
certificate, what it may not, and how fast a certificate that is taken away ends its connection."""
import atexit
import json
import os
import subprocess
import threading
import time

import kvgtest

CAMERAS = 5
site = kvgtest.Site()
site.start_server()
names = [f"cam{i}" for i in range(CAMERAS)]
site.write_config("".join(f"  {name}: {{ source: \"test:\" }}\n" for name in names))
site.provision()
first, second = names[:2]
mqtt_port = str(site.server.ready["mqtt_port"])


def mqtt(program, thing, *arguments, client=None, certificate=None):
    stem = certificate or site.path("certs/" + thing)
    return [program, "-h", "127.0.0.1", "-p", mqtt_port, "--cafile", site.path("server/ca.pem"),
            "--cert", stem + ".cert.pem", "--key", stem + ".private.key", "-i", client or thing,
            "-q", "1", *arguments]


class Listener:
    """Messages of one subscription as [(topic, payload)]."""

    def __init__(self, thing, *topics, client=None):
        filters = [word for topic in topics for word in ("-t", topic)]
        self.process = subprocess.Popen(
            ["stdbuf", "-oL"] + mqtt("mosquitto_sub", thing, "-d", "-F", "MESSAGE %t %p", *filters, client=client),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        atexit.register(self.process.kill)
        self.lines, self.messages = [], []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("MESSAGE "):
                _, topic, payload = line.rstrip("\n").split(" ", 2)
                self.messages.append((topic, json.loads(payload)))

    def granted(self):
        """What SUBACK said: the granted QoS, or 128."""
        line = kvgtest.wait_for("SUBACK", lambda: next(
            (line for line in self.lines if "Subscribed (mid" in line), None))
        return [int(word) for word in line.rsplit(":", 1)[1].split(",")]

    def wait(self, topic):
        return kvgtest.wait_for(topic, lambda: next(
            (payload for name, payload in self.messages if name == topic), None))

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.thread.join(30)
        self.process.stdout.close()


def publish(thing, topic, payload, **more):
    return subprocess.run(mqtt("mosquitto_pub", thing, "-t", topic, "-m", payload, **more),
                          capture_output=True, text=True, timeout=60)


def aws(*arguments, check=True):
    done = subprocess.run(["/usr/bin/aws", *arguments, "--endpoint-url", site.endpoint],
                          capture_output=True, text=True, env=site.environment, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done


def shadow(*arguments, **more):
    """aws iot-data VERB ..., the document it wrote."""
    out = site.path("shadow.json")
    done = aws("iot-data", *arguments, "--cli-binary-format", "raw-in-base64-out", out, **more)
    if done.returncode != 0:
        return done.stderr
    with open(out) as file:
        return json.load(file)


prefix = f"$aws/things/{first}/shadow"

# ---- a device and the cloud talk through the shadow
device = Listener(first, prefix + "/#")
assert device.granted() == [1]
assert publish(first, prefix + "/get", "", client=first + "-x").returncode != 0, \
    "a client id that is not the thing's"
device.stop()
device = Listener(first, prefix + "/update/delta", prefix + "/update/documents", prefix + "/get/rejected",
                  prefix + "/update/accepted")
assert device.granted() == [1, 1, 1, 1]
desired = shadow("update-thing-shadow", "--thing-name", first, "--payload", json.dumps(
    {"state": {"desired": {"streaming": False}}, "clientToken": "c1"}))
assert desired["version"] == 1 and desired["clientToken"] == "c1", desired
delta = device.wait(prefix + "/update/delta")
assert delta["state"] == {"streaming": False} and delta["version"] == 1, delta
documents = device.wait(prefix + "/update/documents")
assert documents["current"]["state"] == {"desired": {"streaming": False}}, documents
device.stop()

done = publish(first, prefix + "/update", json.dumps({"state": {"reported": {"streaming": False}}}))
assert done.returncode == 0, done.stderr
kvgtest.wait_for("the report", lambda: "reported" in shadow(
    "get-thing-shadow", "--thing-name", first)["state"])
now = shadow("get-thing-shadow", "--thing-name", first)
assert now["state"] == {"desired": {"streaming": False}, "reported": {"streaming": False}}, now
assert now["version"] == 2 and "metadata" in now, now

# ---- named shadows
named = shadow("update-thing-shadow", "--thing-name", first, "--shadow-name", "video", "--payload",
               '{"state":{"desired":{"fps":5}}}')
assert named["version"] == 1, named
data = site.client("iot-data")
assert data.list_named_shadows_for_thing(thingName=first)["results"] == ["video"]
assert data.list_named_shadows_for_thing(thingName="nobody")["results"] == []
assert "No shadow exists with name" in shadow("get-thing-shadow", "--thing-name", second, check=False)
assert "Version conflict" in shadow("update-thing-shadow", "--thing-name", first, "--payload",
                                    '{"state":{},"version":9}', check=False)
shadow("delete-thing-shadow", "--thing-name", first, "--shadow-name", "video")
assert data.list_named_shadows_for_thing(thingName=first)["results"] == []
data.publish(topic="site/news", qos=1, payload=b"hello")

# ---- each camera against every other: nothing
for thing in names:
    for other in names:
        allowed = thing == other
        topic = f"$aws/things/{other}/shadow/update/accepted"
        listener = Listener(thing, topic)
        assert listener.granted() == [1 if allowed else 128], (thing, other)
        listener.stop()
        publish(thing, f"$aws/things/{other}/shadow/update",
                json.dumps({"state": {"reported": {"by": thing}}}))
        # To connect under the other's name is refused, too.
        if not allowed:
            assert publish(thing, topic, "{}", client=other).returncode != 0, (thing, other)


def report(name):
    document = shadow("get-thing-shadow", "--thing-name", name, check=False)
    return document["state"].get("reported", {}).get("by") if isinstance(document, dict) else None


for name in names:
    kvgtest.wait_for("the own report of " + name, lambda: report(name) == name)
for wild in ("#", "$aws/#", "$aws/things/+/shadow/#", f"$aws/things/{first}/#"):
    listener = Listener(first, wild)
    assert listener.granted() == [128], wild
    listener.stop()

# ---- HTTPS with the certificate: allowed by a policy of its own only
def device_get(thing, path):
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", site.path("server/ca.pem"),
         "--cert", site.path(f"certs/{thing}.cert.pem"), "--key", site.path(f"certs/{thing}.private.key"),
         f"https://127.0.0.1:{site.ports['mtls']}{path}"], capture_output=True, text=True, timeout=60)
    return done.stdout


assert device_get(first, f"/things/{first}/shadow") == "403"
iot = site.client("iot")
with open(site.path("certs/provision.json")) as file:
    certificates = {name: camera for name, camera in json.load(file)["cameras"].items()}
iot.create_policy(policyName="read-own", policyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "iot:GetThingShadow",
        "Resource": f"arn:aws:iot:us-east-1:123456789012:thing/{first}"}}))
iot.attach_policy(policyName="read-own", target=certificates[first]["certificate_arn"])
assert device_get(first, f"/things/{first}/shadow") == "200"
assert device_get(first, f"/things/{second}/shadow") == "403"

# ---- a certificate that is taken away: its connection ends, and no new one is let in
def kicked():
    with open(site.path("server/mqtt/mosquitto.log")) as log:
        return log.read().count("client cam0 is disconnected")


device = Listener(first, prefix + "/get/accepted")
assert device.granted() == [1]
before = kicked()
iot.update_certificate(certificateId=certificates[first]["certificate_id"], newStatus="INACTIVE")
since = time.monotonic()
kvgtest.wait_for("the end of the connection", lambda: kicked() > before, 30)
print(f"disconnected after {time.monotonic() - since:.1f} s")
device.stop()
assert publish(first, prefix + "/get", "").returncode != 0
iot.update_certificate(certificateId=certificates[first]["certificate_id"], newStatus="ACTIVE")
assert publish(first, prefix + "/get", "").returncode == 0

# ---- strangers
stranger = site.path("stranger")
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=kvg-server", "-keyout", stranger + ".private.key", "-out",
                stranger + ".cert.pem"], check=True, capture_output=True)
assert publish("kvg-server", prefix + "/get", "", certificate=stranger).returncode != 0

# ---- the broker dies: it comes back, and so does the shadow service
broker = next(pid for pid in kvgtest.children(site.server.process.pid)
              if b"mosquitto" in open(f"/proc/{pid}/cmdline", "rb").read())
os.kill(broker, 9)


kvgtest.wait_for("the broker", lambda: publish(second, f"$aws/things/{second}/shadow/get", "").returncode == 0)
version = shadow("get-thing-shadow", "--thing-name", second)["version"]
kvgtest.wait_for("the shadow service", lambda: (
    publish(second, f"$aws/things/{second}/shadow/update", '{"state":{}}'),
    shadow("get-thing-shadow", "--thing-name", second)["version"] > version)[1])
