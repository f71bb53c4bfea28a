"""Fleet provisioning: a box that has only a claim certificate gets certificates for its cameras over MQTT, and
hears nothing of what other boxes with the same claim get."""
import atexit
import json
import os
import signal
import subprocess
import time

import kvgtest

site = kvgtest.Site()
site.start_server()
site.write_config("  seed: { source: \"test:\" }\n")
site.provision()
iot = site.client("iot")
account = site.client("sts").get_caller_identity()["Account"]
prefix = f"arn:aws:iot:{kvgtest.REGION}:{account}:"
topics = ["$aws/certificates/create*", "$aws/provisioning-templates/cameras/provision/*",
          "$aws/provisioning-templates/resting/provision/*"]

# ---- by the operator, once: a claim and what it may do, a template
claim = iot.create_keys_and_certificate(setAsActive=True)
stem = site.path("claim")
for suffix, text in ((".cert.pem", claim["certificatePem"]), (".private.key", claim["keyPair"]["PrivateKey"])):
    with open(os.open(stem + suffix, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
        out.write(text)
iot.create_policy(policyName="claim", policyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
    {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": [prefix + "topic/" + t for t in topics]},
    {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": [prefix + "topicfilter/" + t for t in topics]}]}))
iot.attach_policy(policyName="claim", target=claim["certificateArn"])
iot.create_thing_group(thingGroupName="fleet")
template = {
    "Parameters": {"ThingName": {"Type": "String"}, "Site": {"Type": "String", "Default": "north"}},
    "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {
            "ThingName": {"Ref": "ThingName"}, "ThingGroups": ["fleet"],
            "AttributePayload": {"place": {"Fn::Join": ["-", ["site", {"Ref": "Site"}]]}}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {
            "CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "KvgCameraPolicy"}}}}
role = iot.describe_role_alias(roleAlias="KvgCamera")["roleAliasDescription"]["roleArn"]
for broken in ({}, {"Resources": {"x": {"Type": "AWS::IoT::Rule"}}}):
    try:
        iot.create_provisioning_template(templateName="broken", templateBody=json.dumps(broken),
                                         provisioningRoleArn=role, enabled=True)
        raise AssertionError("accepted")
    except iot.exceptions.InvalidRequestException:
        pass
iot.create_provisioning_template(templateName="cameras", templateBody=json.dumps(template), provisioningRoleArn=role,
                                 enabled=True)
iot.create_provisioning_template(templateName="resting", templateBody=json.dumps(template), provisioningRoleArn=role,
                                 enabled=False)
assert json.loads(iot.describe_provisioning_template(templateName="cameras")["templateBody"]) == template
assert [t["templateName"] for t in iot.list_provisioning_templates()["templates"]] == ["cameras", "resting"]

# ---- the box: no access key anywhere
box = site.path("box")
os.mkdir(box)
config = box + "/kvg.yaml"
environment = kvgtest.clean_environment(AWS_EC2_METADATA_DISABLED="true", HOME=box)


def configure(*names, more=""):
    with open(config, "w") as out:
        out.write(f"region: {kvgtest.REGION}\nendpoint: {site.endpoint}\nca_bundle: {site.path('server/ca.pem')}\n"
                  f"identity: {{ directory: certs, credentials_endpoint: '127.0.0.1:{site.ports['mtls']}', "
                  f"mqtt_endpoint: '127.0.0.1:{site.ports['mqtt']}' }}\ncameras:\n" +
                  "".join(f"  {name}: {{ source: \"test:\" }}\n" for name in names))


def start(*more, template="cameras"):
    return subprocess.Popen([os.path.join(kvgtest.BUILD, "kvg"), "provision", "-c", config, "--claim-certificate",
                             stem + ".cert.pem", "--claim-key", stem + ".private.key", "--template", template, *more],
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(*more, status=0, template="cameras"):
    process = start(*more, template=template)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == status, (process.returncode, output)
    return output


# Another box with the same claim listens to all the answers there may be.
spy = subprocess.Popen(
    ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(site.ports["mqtt"]), "--cafile", site.path("server/ca.pem"), "--cert",
     stem + ".cert.pem", "--key", stem + ".private.key", "-i", "spy", "-q", "1", "-v",
     "-t", "$aws/certificates/create-from-csr/json/accepted", "-t", "$aws/certificates/create-from-csr/json",
     "-t", "$aws/provisioning-templates/cameras/provision/json/accepted"], stdout=subprocess.PIPE, text=True)
atexit.register(spy.kill)
time.sleep(1)
configure("gate", "yard")
assert "2 cameras provisioned, 2 changes" in run()
before = {name: open(f"{box}/certs/{name}").read() for name in os.listdir(box + "/certs")}
assert "0 changes" in run()
assert before == {name: open(f"{box}/certs/{name}").read() for name in os.listdir(box + "/certs")}
for name in ("gate", "yard"):
    assert site.camera_keys(name, certificate=f"{box}/certs/{name}")[0] == 200
    [arn] = iot.list_thing_principals(thingName=name)["principals"]
    assert [p["policyName"] for p in iot.list_attached_policies(target=arn)["policies"]] == ["KvgCameraPolicy"]
    assert iot.describe_thing(thingName=name)["attributes"] == {"place": "site-north"}
assert iot.list_things_in_thing_group(thingGroupName="fleet")["things"] == ["gate", "yard"]
# The claim itself opens nothing, nor does a camera's certificate make others.
assert site.camera_keys("gate", certificate=stem)[0] == 403
stolen = f"{box}/certs/gate"
done = subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(site.ports["mqtt"]), "--cafile",
                       site.path("server/ca.pem"), "--cert", stolen + ".cert.pem", "--key", stolen + ".private.key",
                       "-i", "gate", "-q", "1", "-t", "$aws/certificates/create/json", "-m", "{}"], capture_output=True,
                      timeout=60)
assert len(iot.list_certificates()["certificates"]) == 4  # seed, claim, gate, yard

# ---- refusals name the cause
configure("gate", "yard", "shed")
assert "InvalidTemplate" in run(status=1, template="resting")
assert "IoT policy" in run(status=1, template="forbidden")
configure("gate", "yard", "shed", "a" * 128)
iot.delete_thing_group(thingGroupName="fleet")
assert "no thing group fleet" in run("shed", status=1)
pending = [c for c in iot.list_certificates()["certificates"] if c["status"] == "PENDING_ACTIVATION"]
assert len(pending) >= 2, pending
assert not os.path.exists(f"{box}/certs/shed.cert.pem")
iot.create_thing_group(thingGroupName="fleet")

# ---- killed at some moment, and started again
for i, moment in enumerate((0.02, 0.05, 0.08, 0.11, 0.15, 0.2)):
    configure(f"late{i}")
    process = start()
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run()
    assert site.camera_keys(f"late{i}", certificate=f"{box}/certs/late{i}")[0] == 200
    assert not [name for name in os.listdir(box + "/certs") if name.startswith("late") and name.endswith(".claimed")]

spy.terminate()
heard = spy.communicate(timeout=30)[0]
assert heard == "", heard
