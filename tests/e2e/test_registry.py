"""The IoT registry by AWS's own SDK: groups, policy versions, certificates of others, listings, errors.
Each answer is checked against the SDK's model of it."""
import json
import subprocess

import kvgtest
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

site = kvgtest.Site()
site.start_server()
iot, data = site.client("iot"), site.client("iot-data")


def validate(parsed, model, **_):
    if "Error" not in parsed and model.output_shape is not None:
        answer = {k: v for k, v in parsed.items() if k != "ResponseMetadata"}
        report = ParamValidator().validate(answer, model.output_shape)
        assert not report.has_errors(), (model.name, report.generate_report())


iot.meta.events.register("after-call.iot", validate)


def refused(status, code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = (error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
        assert found == (status, code), (found, error)
        return error.response["Error"]["Message"]
    raise AssertionError(f"{call.__name__} {arguments} was not refused")


def document(action="iot:Connect"):
    return json.dumps({"Version": "2012-10-17",
                       "Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}})


# ---- things
iot.create_thing(thingName="t1", attributePayload={"attributes": {"site": "north", "floor": "1"}})
iot.create_thing(thingName="t1", attributePayload={"attributes": {"site": "north", "floor": "1"}})
refused(409, "ResourceAlreadyExistsException", iot.create_thing, thingName="t1")
refused(400, "InvalidRequestException", iot.create_thing, thingName="t9",
        attributePayload={"attributes": {key: "x" for key in "abcd"}})
refused(404, "ResourceNotFoundException", iot.create_thing, thingName="t9", billingGroupName="none")
for name in ("t2", "t3"):
    iot.create_thing(thingName=name)
iot.update_thing(thingName="t1", attributePayload={"attributes": {"floor": "", "rack": "7"}, "merge": True})
assert iot.describe_thing(thingName="t1")["attributes"] == {"site": "north", "rack": "7"}
assert iot.describe_thing(thingName="t1")["version"] == 2
iot.update_thing(thingName="t1", attributePayload={"attributes": {"site": "south"}}, expectedVersion=2)
assert iot.describe_thing(thingName="t1")["attributes"] == {"site": "south"}
refused(409, "VersionConflictException", iot.update_thing, thingName="t1", expectedVersion=2)
refused(404, "ResourceNotFoundException", iot.update_thing, thingName="t9")
names = [thing["thingName"] for page in iot.get_paginator("list_things").paginate(PaginationConfig={"PageSize": 2})
         for thing in page["things"]]
assert names == ["t1", "t2", "t3"], names
assert [t["thingName"] for t in iot.list_things(attributeName="site", attributeValue="south")["things"]] == ["t1"]
assert iot.list_things(attributeName="site", attributeValue="north")["things"] == []

# ---- policies and their versions
iot.create_policy(policyName="p", policyDocument=document(), tags=[{"Key": "owner", "Value": "me"}])
arn = iot.get_policy(policyName="p")["policyArn"]
assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "owner", "Value": "me"}]
iot.tag_resource(resourceArn=arn, tags=[{"Key": "room", "Value": "2"}])
iot.untag_resource(resourceArn=arn, tagKeys=["owner"])
assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "room", "Value": "2"}]
refused(404, "ResourceNotFoundException", iot.list_tags_for_resource, resourceArn=arn + "x")
refused(409, "ResourceAlreadyExistsException", iot.create_policy, policyName="p", policyDocument=document())
refused(400, "MalformedPolicyException", iot.create_policy, policyName="q", policyDocument="{}")
refused(400, "MalformedPolicyException", iot.create_policy_version, policyName="p", policyDocument="nothing")
made = iot.create_policy_version(policyName="p", policyDocument=document("iot:Publish"))
assert (made["policyVersionId"], made["isDefaultVersion"]) == ("2", False)
assert iot.get_policy(policyName="p")["defaultVersionId"] == "1"
iot.set_default_policy_version(policyName="p", policyVersionId="2")
assert json.loads(iot.get_policy(policyName="p")["policyDocument"])["Statement"]["Action"] == "iot:Publish"
for version in ("3", "4", "5"):
    iot.create_policy_version(policyName="p", policyDocument=document(), setAsDefault=True)
refused(409, "VersionsLimitExceededException", iot.create_policy_version, policyName="p", policyDocument=document())
refused(409, "DeleteConflictException", iot.delete_policy_version, policyName="p", policyVersionId="5")
refused(404, "ResourceNotFoundException", iot.get_policy_version, policyName="p", policyVersionId="9")
iot.delete_policy_version(policyName="p", policyVersionId="1")
assert [v["versionId"] for v in iot.list_policy_versions(policyName="p")["policyVersions"]] == ["5", "4", "3", "2"]
assert iot.get_policy_version(policyName="p", policyVersionId="5")["isDefaultVersion"]
assert iot.create_policy_version(policyName="p", policyDocument=document())["policyVersionId"] == "6"
assert "than than" in refused(409, "DeleteConflictException", iot.delete_policy, policyName="p")
assert [p["policyName"] for p in iot.list_policies()["policies"]] == ["p"]

# ---- certificates
made = iot.create_keys_and_certificate(setAsActive=True)
cert, cert_id = made["certificateArn"], made["certificateId"]
assert "PRIVATE KEY" in made["keyPair"]["PrivateKey"]
about = iot.describe_certificate(certificateId=cert_id)["certificateDescription"]
assert about["status"] == "ACTIVE" and about["certificateMode"] == "DEFAULT" and about["generationId"]
refused(406, "CertificateStateException", iot.delete_certificate, certificateId=cert_id)
iot.attach_policy(policyName="p", target=cert)
how = "EXCLUSIVE_THING"  # newer than Debian's SDK
iot.meta.events.register("before-call.iot.AttachThingPrincipal", lambda params, **_: params.update(
    url=params["url"] + "?thingPrincipalType=" + how))
iot.attach_thing_principal(thingName="t1", principal=cert)
how = "NON_EXCLUSIVE_THING"
refused(400, "InvalidRequestException", iot.attach_thing_principal, thingName="t2", principal=cert)
iot.attach_thing_principal(thingName="t1", principal=cert)
iot.attach_thing_principal(thingName="t2", principal=cert)
assert iot.list_principal_things(principal=cert)["things"] == ["t1", "t2"]
assert iot.list_thing_principals(thingName="t1")["principals"] == [cert]
assert [p["policyName"] for p in iot.list_attached_policies(target=cert)["policies"]] == ["p"]
assert iot.list_targets_for_policy(policyName="p")["targets"] == [cert]
refused(400, "InvalidRequestException", iot.delete_thing, thingName="t1")
iot.update_certificate(certificateId=cert_id, newStatus="INACTIVE")
assert iot.describe_certificate(certificateId=cert_id)["certificateDescription"]["customerVersion"] == 2
refused(409, "DeleteConflictException", iot.delete_certificate, certificateId=cert_id, forceDelete=True)
for name in ("t1", "t2"):
    iot.detach_thing_principal(thingName=name, principal=cert)
refused(409, "DeleteConflictException", iot.delete_certificate, certificateId=cert_id)
iot.delete_certificate(certificateId=cert_id, forceDelete=True)
assert iot.list_targets_for_policy(policyName="p")["targets"] == []
refused(404, "ResourceNotFoundException", iot.describe_certificate, certificateId=cert_id)

# ---- role aliases
role = site.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {
        "Service": "credentials.iot.amazonaws.com"}}}))["Role"]["Arn"]
for name in ("a1", "a2", "KvgCamera"):
    iot.create_role_alias(roleAlias=name, roleArn=role, tags=[{"Key": "k", "Value": "v"}])
iot.update_role_alias(roleAlias="a1", credentialDurationSeconds=900)
about = iot.describe_role_alias(roleAlias="a1")["roleAliasDescription"]
assert about["credentialDurationSeconds"] == 900 and about["roleArn"] == role
assert iot.list_role_aliases(ascendingOrder=False)["roleAliases"] == ["a2", "a1", "KvgCamera"]
page = iot.list_role_aliases(pageSize=1, ascendingOrder=True)
assert iot.list_role_aliases(pageSize=5, marker=page["nextMarker"], ascendingOrder=True)["roleAliases"] == ["a1", "a2"]
refused(404, "ResourceNotFoundException", iot.update_role_alias, roleAlias="a9", credentialDurationSeconds=900)

# ---- groups: a tree; a policy on it counts for the certificates of the things in it
iot.create_thing_group(thingGroupName="site", tags=[{"Key": "k", "Value": "v"}], thingGroupProperties={
    "thingGroupDescription": "all", "attributePayload": {"attributes": {"town": "A"}}})
iot.create_thing_group(thingGroupName="hall", parentGroupName="site")
refused(409, "ResourceAlreadyExistsException", iot.create_thing_group, thingGroupName="hall")
refused(404, "ResourceNotFoundException", iot.create_thing_group, thingGroupName="x", parentGroupName="none")
about = iot.describe_thing_group(thingGroupName="hall")
assert about["thingGroupMetadata"]["parentGroupName"] == "site"
assert [g["groupName"] for g in about["thingGroupMetadata"]["rootToParentThingGroups"]] == ["site"]
assert iot.update_thing_group(thingGroupName="site", thingGroupProperties={})["version"] == 2
refused(409, "VersionConflictException", iot.update_thing_group, thingGroupName="site", expectedVersion=1,
        thingGroupProperties={})
iot.add_thing_to_thing_group(thingGroupName="hall", thingName="t1")
iot.add_thing_to_thing_group(thingGroupArn=about["thingGroupArn"], thingName="t2")
assert iot.list_things_in_thing_group(thingGroupName="hall")["things"] == ["t1", "t2"]
assert iot.list_things_in_thing_group(thingGroupName="site")["things"] == []
assert iot.list_things_in_thing_group(thingGroupName="site", recursive=True)["things"] == ["t1", "t2"]
assert [g["groupName"] for g in iot.list_thing_groups_for_thing(thingName="t1")["thingGroups"]] == ["hall"]
assert [g["groupName"] for g in iot.list_thing_groups(parentGroup="site")["thingGroups"]] == ["hall"]
assert [g["groupName"] for g in iot.list_thing_groups()["thingGroups"]] == ["hall", "site"]
refused(404, "ResourceNotFoundException", iot.add_thing_to_thing_group, thingGroupName="none", thingName="t1")
refused(400, "InvalidRequestException", iot.delete_thing_group, thingGroupName="site")

# A certificate that is nobody's: registered, it counts like those of the server's own authority.
stem = site.path("own")
subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=own", "-keyout", stem + ".private.key", "-out",
                stem + ".cert.pem"], check=True, capture_output=True)
assert site.camera_keys("t1", certificate=stem)[0] == 403
with open(stem + ".cert.pem") as file:
    pem = file.read()
own = iot.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
refused(409, "ResourceAlreadyExistsException", iot.register_certificate_without_ca, certificatePem=pem)
refused(400, "CertificateValidationException", iot.register_certificate_without_ca, certificatePem="x")
iot.attach_thing_principal(thingName="t1", principal=own["certificateArn"])
assert site.camera_keys("t1", certificate=stem) == (403, {"message": "Access Denied"})
iot.create_policy(policyName="assume", policyDocument=document("iot:AssumeRoleWithCertificate"))
group_arn = iot.describe_thing_group(thingGroupName="site")["thingGroupArn"]
iot.attach_policy(policyName="assume", target=group_arn)
assert site.camera_keys("t1", certificate=stem)[0] == 200
assert iot.list_attached_policies(target=own["certificateArn"])["policies"] == []
assert [p["policyName"] for p in iot.list_attached_policies(target=own["certificateArn"], recursive=True)[
    "policies"]] == ["assume"]
refused(409, "DeleteConflictException", iot.delete_policy, policyName="assume")
iot.create_policy_version(policyName="assume", policyDocument=document("iot:Connect"), setAsDefault=True)
assert site.camera_keys("t1", certificate=stem)[0] == 403
iot.set_default_policy_version(policyName="assume", policyVersionId="1")
iot.remove_thing_from_thing_group(thingGroupName="hall", thingName="t1")
assert site.camera_keys("t1", certificate=stem)[0] == 403

# ---- and everything can go
iot.detach_policy(policyName="assume", target=group_arn)
iot.delete_thing_group(thingGroupName="hall")
iot.delete_thing_group(thingGroupName="site")
iot.delete_thing_group(thingGroupName="site")
iot.detach_thing_principal(thingName="t1", principal=own["certificateArn"])
iot.update_certificate(certificateId=own["certificateId"], newStatus="REVOKED")
iot.delete_certificate(certificateId=own["certificateId"])
for name in ("t1", "t2", "t3", "t3"):
    iot.delete_thing(thingName=name)
for policy in ("p", "assume"):
    for version in iot.list_policy_versions(policyName=policy)["policyVersions"]:
        if not version["isDefaultVersion"]:
            iot.delete_policy_version(policyName=policy, policyVersionId=version["versionId"])
    iot.delete_policy(policyName=policy)
for name in ("a1", "a2", "KvgCamera"):
    iot.delete_role_alias(roleAlias=name)
assert iot.list_things()["things"] == iot.list_policies()["policies"] == iot.list_role_aliases()["roleAliases"] == []
