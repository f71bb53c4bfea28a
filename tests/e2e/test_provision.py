"""kvg provision and kvg destroy: what they make and leave, what AWS's SDK says about their calls, and
what comes of a kill at any of them."""
import json
import os
import shutil
import subprocess
import time

import awsproxy
import kvgtest

site = kvgtest.Site()
site.start_server()
proxy = awsproxy.Proxy(site.ports["http"])
config = site.path("kvg.yaml")
certs = site.path("certs")


def configure(names, more_identity="", **settings):
    lines = [f"region: {kvgtest.REGION}", f"endpoint: {proxy.url}", f"ca_bundle: {site.path('server/ca.pem')}",
             "identity: { directory: certs" + more_identity + " }", "cameras:"]
    lines += [f"  {name}: {{ source: \"test:\" {''.join(f', {k}: {v}' for k, v in settings.items())} }}"
              for name in names]
    with open(config, "w") as out:
        out.write("\n".join(lines) + "\n")


def start(*arguments):
    return subprocess.Popen([os.path.join(kvgtest.BUILD, "kvg"), *arguments, "-c", config], env=site.environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*arguments, status=0):
    process = start(*arguments)
    output, errors = process.communicate(timeout=kvgtest.PATIENCE_S)
    assert process.returncode == status, (arguments, process.returncode, output, errors)
    return output + errors


iot, kvs, iam, data = (site.client(name) for name in ("iot", "kinesisvideo", "iam", "iot-data"))


def everything():
    """All that provisioning could leave behind."""
    return {**site.everything(), "shadows": [name for name in ("gate", "yard") if shadow_exists(name)]}


def shadow_exists(name):
    try:
        data.get_thing_shadow(thingName=name)
        return True
    except data.exceptions.ResourceNotFoundException:
        return False


def check_camera(name):
    [arn] = iot.list_thing_principals(thingName=name)["principals"]
    assert [p["policyName"] for p in iot.list_attached_policies(target=arn)["policies"]] == ["KvgCameraPolicy"]
    about = iot.describe_certificate(certificateId=arn.rsplit("/", 1)[1])["certificateDescription"]
    assert about["status"] == "ACTIVE"
    with open(f"{certs}/{name}.cert.pem") as file:
        assert file.read() == about["certificatePem"]
    for suffix in (".cert.pem", ".private.key"):
        assert os.stat(f"{certs}/{name}{suffix}").st_mode & 0o777 == 0o600
    assert site.camera_keys(name)[0] == 200
    kvs.describe_stream(StreamName=name)


nothing = everything()

# ---- the whole of it once, and what AWS's SDK says about it
configure(["gate", "yard"], ", thing_group: site, tags: { owner: me, 'a b': c }", retention="48h")
plan = run("provision", "--plan", status=2)
assert "+ thing gate" in plan and "+ IAM role KvgCameraRole" in plan and "+ thing group site" in plan, plan
assert everything() == nothing and not os.path.exists(certs)
proxy.start()
run("provision", "--plan", "--output", "json", status=2)
assert all(call.reads() for call in proxy.calls), proxy.calls
proxy.start()
run("provision")
awsproxy.check_transcript(proxy.calls, site.administrator())
print(f"{len(proxy.calls)} calls agree with AWS's models and signer")
assert os.stat(certs).st_mode & 0o777 == 0o700
for name in ("gate", "yard"):
    check_camera(name)
    stream = kvs.describe_stream(StreamName=name)["StreamInfo"]
    assert stream["DataRetentionInHours"] == 48
    assert kvs.list_tags_for_stream(StreamName=name)["Tags"] == {"owner": "me", "a b": "c"}
assert iot.list_things_in_thing_group(thingGroupName="site")["things"] == ["gate", "yard"]
assert {t["Key"]: t["Value"] for t in iam.list_role_tags(RoleName="KvgCameraRole")["Tags"]}["owner"] == "me"

# ---- again: nothing is changed, not even a file
before = {name: open(f"{certs}/{name}").read() for name in os.listdir(certs)}
stamps = {name: os.stat(f"{certs}/{name}").st_mtime_ns for name in before if name != ".lock"}
proxy.start()
assert "0 changes" in run("provision")
assert all(call.reads() for call in proxy.calls), [call for call in proxy.calls if not call.reads()]
assert before == {name: open(f"{certs}/{name}").read() for name in os.listdir(certs)}
assert stamps == {name: os.stat(f"{certs}/{name}").st_mtime_ns for name in stamps}
assert "nothing to change" in run("provision", "--plan")

# ---- what others have changed is put right
iot.create_policy_version(policyName="KvgCameraPolicy", setAsDefault=True, policyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}))
for _ in range(3):
    iot.create_policy_version(policyName="KvgCameraPolicy", policyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}))
iam.delete_role_policy(RoleName="KvgCameraRole", PolicyName="kvg-camera")
iot.delete_role_alias(roleAlias="KvgCamera")
[arn] = iot.list_thing_principals(thingName="gate")["principals"]
iot.detach_thing_principal(thingName="gate", principal=arn)
configure(["gate", "yard"], ", thing_group: site", retention="24h")
plan = run("provision", "--plan", status=2)
for text in ("~ IoT policy", "+ role alias", "the thing it lacks", "retention from 48 to 24", "kvg-camera"):
    assert text in plan, (text, plan)
run("provision")
for name in ("gate", "yard"):
    check_camera(name)
assert "nothing to change" in run("provision", "--plan")

# ---- destroy: asks, keeps streams when told to, and leaves nothing else
data.update_thing_shadow(thingName="gate", payload=b'{"state":{"desired":{"fps":5}}}')
assert "--yes" in run("destroy", status=2)
proxy.start()
run("destroy", "--yes", "--keep-streams")
awsproxy.check_transcript(proxy.calls, site.administrator())
assert everything() == {**nothing, "streams": ["gate", "yard"]}
with open(f"{certs}/destroy.json") as file:
    report = json.load(file)
assert sorted(k["name"] for k in report["kept"] if k["kind"] == "stream") == ["gate", "yard"], report
assert sorted(os.listdir(certs)) == [".lock", "destroy.json"], os.listdir(certs)
for name in ("gate", "yard"):
    kvs.delete_stream(StreamARN=kvs.describe_stream(StreamName=name)["StreamInfo"]["StreamARN"])

# ---- what was there before stays, also its tags and its certificate of the former notebook
iam.create_role(RoleName="KvgCameraRole", AssumeRolePolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {
        "Service": "credentials.iot.amazonaws.com"}}}))
iot.create_thing(thingName="gate")
made = iot.create_keys_and_certificate(setAsActive=True)
iot.attach_thing_principal(thingName="gate", principal=made["certificateArn"])
for suffix, text in (("cert.pem", made["certificatePem"]), ("private.key", made["keyPair"]["PrivateKey"])):
    with open(f"{certs}/gate-{suffix}", "w") as out:
        out.write(text)
older = everything()
configure(["gate"])
output = run("provision")
assert "taken over" in output and "the policy it lacks" in output, output
check_camera("gate")
run("destroy", "--yes")
assert everything() == older, (everything(), older)
assert iot.list_attached_policies(target=made["certificateArn"])["policies"] == []
iot.detach_thing_principal(thingName="gate", principal=made["certificateArn"])
iot.update_certificate(certificateId=made["certificateId"], newStatus="INACTIVE")
iot.delete_certificate(certificateId=made["certificateId"])
iot.delete_thing(thingName="gate")
iam.delete_role(RoleName="KvgCameraRole")
shutil.rmtree(certs)
assert everything() == nothing

# ---- services throttle, fail, and lag behind themselves
seen = {}


def moody(call):
    key = (call.service, call.method, call.path)
    seen[key] = seen.get(key, 0) + 1
    if seen[key] > 1:
        return None
    if call.method == "PUT" and call.path.endswith("/principals"):
        return 404, "ResourceNotFoundException", "Thing gate not found"
    if call.service == "iot" and call.method == "DELETE" and call.path.startswith("/things/") and \
            not call.path.endswith("/principals"):
        return 400, "InvalidRequestException", "Cannot delete. Thing gate is still attached to one or more principals"
    if call.service == "iot" and call.method == "DELETE" and call.path.startswith(("/policies/", "/certificates/")):
        return 409, "DeleteConflictException", "still attached"
    return (400, "ThrottlingException", "Rate exceeded") if len(seen) % 2 else (503, "ServiceUnavailableException", "x")


proxy.intercept = moody
run("provision", "--key-type", "rsa")
check_camera("gate")
seen.clear()
run("destroy", "--yes")
proxy.intercept = None
assert everything() == nothing
shutil.rmtree(certs)

# ---- keys of the service
run("provision", "--aws-keys")
check_camera("gate")
run("destroy", "--yes")
assert everything() == nothing
shutil.rmtree(certs)


# ---- killed at each call in turn, before it and after it, then started again
def killed_at_each(arguments, prepare, check):
    n = 0
    for before in (True, False):
        step = 1
        while True:
            prepare()
            proxy.start(kill_at=step, kill_before=before)
            process = start(*arguments)
            proxy.victim = process.pid
            process.communicate(timeout=kvgtest.PATIENCE_S)
            was_killed = process.returncode < 0
            assert was_killed or process.returncode == 0
            proxy.start()
            if was_killed:
                run(*arguments)
            check()
            if not was_killed:
                break
            step += 1
        n += step - 1
    print(f"{arguments[0]}: killed at {n} places")
    assert n > 20, n


def one_camera():
    check_camera("gate")
    now = everything()
    assert len(now["certificates"]) == len(now["things"]) == len(now["streams"]) == 1, now
    assert "nothing to change" in run("provision", "--plan")


def clean():
    if os.path.exists(certs):
        run("destroy", "--yes")
        shutil.rmtree(certs)
    assert everything() == nothing, everything()


began = time.monotonic()
killed_at_each(["provision", "-j", "1"], clean, one_camera)


def again():
    if not os.path.exists(f"{certs}/provision.json"):
        run("provision")


def gone():
    assert everything() == nothing, everything()
    assert os.path.exists(f"{certs}/destroy.json")


killed_at_each(["destroy", "--yes"], again, gone)
again()
old = set()


def new_certificate():
    one_camera()
    [now] = everything()["certificates"]
    assert now not in old
    old.add(now)
    assert not [name for name in os.listdir(certs) if name.endswith(".next")]


killed_at_each(["provision", "--rotate"], lambda: old.update(everything()["certificates"]), new_certificate)
clean()
print(f"kills took {time.monotonic() - began:.0f} s")

# ---- two hundred cameras in one run, a bounded number at a time
names = [f"cam{i:03}" for i in range(200)]
configure(names)
proxy.start()
began = time.monotonic()
run("provision", "-j", "6")
print(f"200 cameras: {time.monotonic() - began:.0f} s, {len(proxy.calls)} calls, "
      f"at most {proxy.most_concurrent} at a time")
assert proxy.most_concurrent <= 6
now = everything()
assert now["things"] == now["streams"] == names and len(now["certificates"]) == 200
run("destroy", "--yes", "-j", "6")
assert everything() == nothing
