"""From a project folder of AWS Panorama, with the certificates its notebook made, to live pictures in three
commands; then what users' scripts did with the former service: signals, node status, a second application in
the same configuration, and its removal. Names the rules 12.5, 12.7 and 12.12 of the mapping."""
import json
import os
import shutil
import time
import urllib.request

import kvgtest
from panorama_project import OWNER, Project, camera, include, override, parameter, port

ALIAS = "CameraAlias-1700000000"
site = kvgtest.Site()
site.start_server()
site.start_cameras(3)
first, second, third = site.names
urls = {c["name"]: c["url"] for c in site.cameras.ready["cameras"]}
iot, iam = site.client("iot"), site.client("iam")


# ---- as the notebook provisioned: no Connect to speak of, keys made by the service
def provision_once():
    trust = {"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"}}
    may = {"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": ["kinesisvideo:" + a for a in (
            "CreateStream", "DescribeStream", "PutMedia", "TagStream", "GetDataEndpoint")],
        "Resource": "arn:aws:kinesisvideo:*:*:stream/${credentials-iot:ThingName}/*"}}
    role = iam.create_role(RoleName="KVSRole-1700000000", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="KVSRole-1700000000", PolicyName="kvs", PolicyDocument=json.dumps(may))
    alias = iot.create_role_alias(roleAlias=ALIAS, roleArn=role, credentialDurationSeconds=3600)["roleAliasArn"]
    policy = {"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": ["iot:Connect", "iot:AssumeRoleWithCertificate"], "Resource": alias}}
    iot.create_policy(policyName="KVSPolicy-1700000000", policyDocument=json.dumps(policy))


def provision_camera(name, folder):
    iot.create_thing(thingName=name)
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_policy(policyName="KVSPolicy-1700000000", target=made["certificateArn"])
    iot.attach_thing_principal(thingName=name, principal=made["certificateArn"])
    os.makedirs(folder, exist_ok=True)
    for suffix, text in (("cert.pem", made["certificatePem"]), ("private.key", made["keyPair"]["PrivateKey"]),
                         ("public.key", made["keyPair"]["PublicKey"])):
        with open(f"{folder}/{name}-{suffix}", "w") as out:
            out.write(text)


project = Project(site.path("project"), [first, second])
project.overrides = [override([first, second], kvgtest.REGION, ALIAS)]
project.templates = {name: {"StreamUrl": urls[name], "Username": "viewer", "Password": "p$ss word"}
                     for name in (first, second)}
project.write()
provision_once()
for name in (first, second):
    provision_camera(name, project.certs)
with open(project.certs + "/cacert.pem", "w") as out:
    out.write("")

# ---- rule 12.5: certificates by the former names; those that are missing are named all at once
config = site.path("kvg.yaml")
target = ["--endpoint-url", site.endpoint, "--ca-bundle", site.path("server/ca.pem")]
poor = site.path("poor")
shutil.copytree(project.certs, poor)
for file in (f"{first}-private.key", f"{second}-cert.pem", f"{second}-private.key"):
    os.remove(f"{poor}/{file}")
refused = site.kvg(*project.arguments(), "--certs", poor, "--output", site.folder, check=False)
assert refused.returncode == 1 and refused.stderr.count(": missing; without --certs") == 3, refused.stderr
shutil.copy(f"{project.certs}/{first}-private.key", f"{poor}/{second}-private.key")
shutil.copy(f"{project.certs}/{second}-cert.pem", poor)
refused = site.kvg(*project.arguments(), "--certs", poor, "--output", site.folder, check=False)
assert refused.returncode == 1 and f"{second}-private.key: it is no private key" in refused.stderr, refused.stderr
assert not os.path.exists(config)

# ---- the three commands
done = site.kvg(*project.arguments(), *target, "--output", site.folder)
assert "recognised" in done.stderr and "warning" not in done.stderr, done.stderr
for name in (first, second):
    for suffix, former in ((".cert.pem", "-cert.pem"), (".private.key", "-private.key")):
        path = site.path(f"certs/{name}{suffix}")
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert open(path).read() == open(f"{project.certs}/{name}{former}").read()
assert "fine, 2 cameras" in site.kvg("check", "-c", config).stdout
with open(config, "a") as out:  # tests run side by side
    out.write("api: { port: 0 }\nspool: { path: spool, memory_path: memory }\n")
described = json.loads(site.kvg("panorama", "describe", "kvs", "--output", "json", "-c", config).stdout)
assert (described["Status"], described["HealthStatus"]) == ("DEPLOYMENT_PENDING", "NOT_AVAILABLE"), described

site.kvg("provision", "-c", config)

site.agent = kvgtest.Program(site, "agent", ["kvg", "agent", "-c", config])
agent = ["-c", config, "--agent", f"http://127.0.0.1:{site.agent.ready['api_port']}"]
site.wait_live()
for name in (first, second):
    base = f"http://127.0.0.1:{site.agent.ready['api_port']}/play/{name}/"
    playlist = kvgtest.wait_for("a playlist", lambda: kvgtest.fetch(base + "live.m3u8")).decode()
    assert playlist.startswith("#EXTM3U"), playlist

# ---- rule 12.12: the certificates may now connect as their thing, and use that thing's shadow alone
document = json.loads(iot.get_policy(policyName="KvgCameraPolicy")["policyDocument"])
actions = {a: s["Resource"] for s in document["Statement"]
           for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])}
thing = "${iot:Connection.Thing.ThingName}"
assert actions["iot:Connect"].endswith(":client/" + thing), actions
for action, kind in (("Publish", "topic"), ("Receive", "topic"), ("Subscribe", "topicfilter")):
    assert actions["iot:" + action].endswith(f":{kind}/$aws/things/{thing}/shadow/*"), actions
assert set(actions) == {"iot:AssumeRoleWithCertificate", "iot:Connect", "iot:Publish", "iot:Receive", "iot:Subscribe"}
principal = iot.list_thing_principals(thingName=first)["principals"][0]
assert "KvgCameraPolicy" in {p["policyName"] for p in iot.list_attached_policies(target=principal)["policies"]}


# ---- rule 12.7: signals and status, here and through the shadow
def panorama(*words, check=True):
    return site.kvg("panorama", *words, check=check)


def statuses(*more):
    nodes = json.loads(panorama("nodes", "--output", "json", *(more or agent)).stdout)["NodeInstances"]
    return {node["NodeInstanceId"]: node["CurrentStatus"] for node in nodes}


def steady():
    now = site.status()[second]
    assert now["state"] == "live" and now["restarts"] == 0 and now["frames_dropped"] == 0, now


assert statuses() == {first: "RUNNING", second: "RUNNING"}, statuses()
assert statuses("-c", config, "--remote") == statuses()


def signal(node, word, state, *options):
    since = time.monotonic()
    panorama("signal", node, word, *(options or agent))
    kvgtest.wait_for(f"{node} to be {state}", lambda: site.status()[node]["state"] == state)
    took = time.monotonic() - since
    print(f"{word} took {took:.2f} s with {options and 'the shadow' or 'the agent'}")
    steady()


signal(first, "PAUSE", "off")
assert statuses() == {first: "PAUSED", second: "RUNNING"}
kvgtest.wait_for("the shadow to know", lambda: statuses("-c", config, "--remote")[first] == "PAUSED")
signal(first, "RESUME", "live")
signal(first, "PAUSE", "off", "-c", config, "--remote")
assert not kvgtest.find_gaps(site.playlist(second)), site.playlist(second)
refused = panorama("signal", "nobody", "PAUSE", *agent, check=False)
assert refused.returncode == 1 and "nobody" in refused.stderr, refused
assert panorama("signal", first, "STOP", *agent, check=False).returncode == 2

# ---- an instance is described as the former service did
described = json.loads(panorama("describe", "kvs", "--output", "json", "--details", *agent).stdout)
assert (described["Status"], described["HealthStatus"]) == ("DEPLOYMENT_SUCCEEDED", "RUNNING"), described
assert described["ManifestPayload"] == project.graph and described["ManifestOverridesPayload"] == project.overrides
assert described["Parameters"]["iot_role_alias"] == ALIAS
listed = json.loads(panorama("list", "--output", "json", *agent).stdout)["ApplicationInstances"]
assert [i["Name"] for i in listed] == ["kvs"], listed

# ---- a second application comes into the same configuration; its camera waits for a signal
watch = Project(site.path("watch"), [third])
watch.package["nodePackage"]["interfaces"][0]["inputs"] = [port("video_in", "media"), port("limit", "float32")]
watch.graph["nodeGraph"]["nodes"][2:5] = [parameter("limit", 1, "float32")]
watch.graph["nodeGraph"]["edges"][2:] = [{"producer": "limit", "consumer": "kinesis_video_streams_code_node.limit"}]
watch.overrides = [{"nodeGraphOverrides": {
    "envelopeVersion": "2021-01-01", "packages": [include(OWNER, third)],
    "nodes": [camera("watching", interface=f"{OWNER}::{third}.{third}", launch="onSignal")],
    "nodeOverrides": [{"replace": "camera_node", "with": [{"name": "watching"}]}]}}]
watch.templates = {third: {"StreamUrl": urls[third], "Username": "viewer", "Password": "p$ss word"}}
watch.write()
deploy = ["deploy", "-c", config, "--name", "watch", *watch.arguments()[2:]]
before = open(config).read()
done = panorama(*deploy, "--dry-run")
assert "Would write" in done.stdout and open(config).read() == before
wrong = panorama(*deploy, "--region", "eu-west-1", check=False)
assert wrong.returncode == 1 and "region: it is 'us-east-1'" in wrong.stderr and "DEPLOYMENT_ERROR" in wrong.stderr, wrong
done = panorama(*deploy)
assert "DEPLOYMENT_SUCCEEDED" in done.stdout and "the container of this node is not run" in done.stderr, done
text = open(config).read()
assert all(line in text for line in before.splitlines()), text
os.kill(site.agent.process.pid, 1)  # SIGHUP: port 0 is not in the file, so deploy cannot find this agent
kvgtest.wait_for("the new camera", lambda: third in site.status())
assert statuses()["watching"] == "PAUSED" and statuses()[second] == "RUNNING", statuses()
panorama("signal", "watching", "RESUME", *agent)
kvgtest.wait_for("it to run", lambda: statuses()["watching"] == "RUNNING")
steady()
assert panorama(*deploy).returncode == 0 and open(config).read() == text, "deployed again without a change"

# ---- and goes again, with what was made for it and nothing else
assert panorama("remove", "watch", *agent, check=False).returncode == 2
done = panorama("remove", "watch", "--yes", *agent)
assert "watch: REMOVAL_SUCCEEDED" in done.stdout, done
assert open(config).read() == before and not os.path.exists(site.path("secrets/" + third))
assert third not in {t["thingName"] for t in iot.list_things()["things"]}
assert third not in {s["StreamName"] for s in site.client("kinesisvideo").list_streams()["StreamInfoList"]}
kvgtest.wait_for("the camera to be gone", lambda: third not in site.status())
assert json.loads(panorama("describe", "kvs", "--output", "json", *agent).stdout)["HealthStatus"] == "RUNNING"
assert panorama("describe", "watch", *agent, check=False).returncode == 1
steady()

# ---- a paused camera stays paused over a restart without a network
site.agent.stop()
site.server.stop()
site.agent = kvgtest.Program(site, "agent", ["kvg", "agent", "-c", config])
agent[-1] = f"http://127.0.0.1:{site.agent.ready['api_port']}"
kvgtest.wait_for("the other camera", lambda: site.status()[second]["state"] == "live")
assert statuses() == {first: "PAUSED", second: "RUNNING"}, statuses()
site.agent.stop()
assert set(statuses("-c", config, "--agent", agent[-1]).values()) == {"NOT_AVAILABLE"}
