/* kvg's own errors, links, acknowledgements, exceptions and HTTP statuses: cause and remedy. What
 * kvg does by itself is said as "kvg ...". Source: the PutMedia, Kinesis Video, IoT, IAM and STS
 * API references. */
#include "cli/explain.h"

#define ERROR(name, cause, remedy)                                                                 \
    {                                                                                              \
        KVG_EXPLAIN_ERROR, 0, name, cause, remedy                                                  \
    }
#define LINK(name, cause, remedy)                                                                  \
    {                                                                                              \
        KVG_EXPLAIN_LINK, 0, name, cause, remedy                                                   \
    }
#define ACK(number, name, cause, remedy)                                                           \
    {                                                                                              \
        KVG_EXPLAIN_ACK, number, name, cause, remedy                                               \
    }
#define EXCEPTION(name, cause, remedy)                                                             \
    {                                                                                              \
        KVG_EXPLAIN_EXCEPTION, 0, name, cause, remedy                                              \
    }
#define HTTP(number, name, cause, remedy)                                                          \
    {                                                                                              \
        KVG_EXPLAIN_HTTP, number, name, cause, remedy                                              \
    }

#define KMS "let the stream's KMS key be used again; kvg keeps the fragments and tries later"
#define CLOCK "set the clock (NTP); kvg corrects its signatures by the service's Date meanwhile"
#define LATER "nothing: kvg tries again, each time more slowly"
#define PROVISION "run kvg provision, which repairs what is missing"

/* clang-format off */
const KvgExplanation kvg_explain_table[] = {
    ERROR("INVALID", "a call, an option or the configuration cannot be right as it is", "correct what the message names; trying again does not help"),
    ERROR("AUTH", "credentials are missing, refused or expired, or a policy does not allow the call", "see the link the message names, for example: kvg explain policy"),
    ERROR("RETRY", "a network, a service or a disk failed in a way that passes", LATER),
    ERROR("THROTTLED", "the service has had too many requests from this account", "nothing: kvg tries again more slowly; spread other users of the account, or have the quota raised"),
    ERROR("NOT_FOUND", "the thing named in the message does not exist", "create it (kvg provision) or correct its name and region"),
    ERROR("CORRUPT", "data read from a disk or a network is damaged", "nothing: kvg leaves the damaged part out and counts it; if it comes again, check the disk"),
    ERROR("NO_SPACE", "a disk, the spool or a quota is full", "free space or raise spool.limit; until then the oldest whole fragments go, and are counted"),
    ERROR("UNSUPPORTED", "it is valid, but kvg does not do it", "choose one of the ways the message names"),
    ERROR("CANCELLED", "somebody asked for it to stop", "nothing"),
    ERROR("FAILED", "something else failed; the message says what", "read the message and the log lines before it"),

    LINK("file", "a file kvg was told to use is missing, unreadable, or not what it should be", "check the path in the message, its owner and mode (0600 for keys), and its first line"),
    LINK("environment", "variables of the environment contradict each other", "set both of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or none"),
    LINK("key", "fixed keys were refused, and there is nothing to renew them with", "give other keys, or use a camera's certificate"),
    LINK("certificate", "the camera's certificate has expired, is not ACTIVE, is unknown to this account and region, or its private key belongs to another one", PROVISION "; or put certificate and key of one identity together"),
    LINK("thing", "the IoT thing does not exist, or the certificate is not attached to it", PROVISION),
    LINK("policy", "no IoT policy of the certificate allows iot:AssumeRoleWithCertificate on the role alias", PROVISION),
    LINK("alias", "the IoT role alias does not exist in this account and region", PROVISION "; or correct identity.role_alias"),
    LINK("role", "the IAM role does not exist, does not trust who assumes it, or allows shorter sessions than asked for", PROVISION "; the role of cameras must trust credentials.iot.amazonaws.com"),
    LINK("clock", "this machine's clock and the other side's dates do not agree", CLOCK),
    LINK("DNS", "the endpoint's name cannot be resolved", "check the name, /etc/resolv.conf and the network; kvg records meanwhile"),
    LINK("TCP", "no connection, or no answer in time", "check the network, the route and the firewall (port 443 out); kvg records meanwhile"),
    LINK("TLS", "a connection was made, but no TLS: a proxy or firewall breaks it, or the port speaks something else", "check the endpoint's port, and whether the firewall inspects TLS"),
    LINK("CA", "the server's certificate is not signed by a CA this machine trusts", "set ca_bundle (AWS_CA_BUNDLE) to the CA of the server, or of the proxy in between"),
    LINK("endpoint", "what answers there has another name, or is another service", "for cameras, use what 'aws iot describe-endpoint --endpoint-type iot:CredentialProvider' prints"),
    LINK("service", "the service answers, but cannot serve now (HTTP 429 or 5xx)", LATER),
    LINK("answer", "something answered that is not the service: too long, or not understood", "check the endpoint; a captive portal or a proxy may answer in its place"),

    ACK(4000, "STREAM_READ_ERROR", "the service lost the connection while it read", "nothing: kvg sends the fragment again"),
    ACK(4001, "MAX_FRAGMENT_SIZE_REACHED", "a fragment is larger than 50 MB", "lower the bitrate or let key frames come more often; kvg leaves this fragment out and counts it"),
    ACK(4002, "MAX_FRAGMENT_DURATION_REACHED", "a fragment is longer than the service takes (10 s, newer 20 s): key frames come too rarely", "set the camera's key-frame interval to 1-4 s; kvg leaves this fragment out and counts it"),
    ACK(4003, "MAX_CONNECTION_DURATION_REACHED", "a session was open for longer than about 45 minutes", "nothing: kvg opens a new one, normally before that"),
    ACK(4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS", "a fragment begins before the end of the one before it", "check the camera's clock; kvg repairs times and begins a new session when they go back"),
    ACK(4005, "MORE_THAN_ONE_TRACK_FOUND", "more than one track, to a service that took only one (no longer sent)", "send one track only"),
    ACK(4006, "INVALID_MKV_DATA", "the body does not parse as Matroska, or holds no frame", "report it with the stream and time: kvg should not send such a body"),
    ACK(4007, "INVALID_PRODUCER_TIMESTAMP", "the start time of the session cannot be used", CLOCK),
    ACK(4008, "STREAM_NOT_ACTIVE", "the stream is being created, updated or deleted", "nothing, if that ends: kvg looks at the stream again and keeps the fragments"),
    ACK(4009, "FRAGMENT_METADATA_LIMIT_REACHED", "more than 10 tags in a fragment, or one too long", "add fewer or shorter tags"),
    ACK(4010, "TRACK_NUMBER_MISMATCH", "a frame belongs to a track the header does not describe", "describe all tracks before their first frame (kvg_stream_set_tracks)"),
    ACK(4011, "FRAMES_MISSING_FOR_TRACK", "a track of the header has no frame in a fragment", "see why that track stalls, or set audio: off"),
    ACK(4012, "MORE_THAN_ALLOWED_TRACKS_FOUND", "more than three tracks", "send one video and one audio track"),
    ACK(4500, "KMS_KEY_ACCESS_DENIED", "the service may not use the stream's KMS key", KMS),
    ACK(4501, "KMS_KEY_DISABLED", "the stream's KMS key is disabled", KMS),
    ACK(4502, "KMS_KEY_VALIDATION_ERROR", "the stream's KMS key could not be validated", KMS),
    ACK(4503, "KMS_KEY_UNAVAILABLE", "the stream's KMS key is not available now", KMS),
    ACK(4504, "KMS_KEY_INVALID_USAGE", "the stream's KMS key is not one for encryption", "give the stream a symmetric encryption key"),
    ACK(4505, "KMS_KEY_INVALID_STATE", "the stream's KMS key is in a state in which it cannot be used, such as waiting for deletion", KMS),
    ACK(4506, "KMS_KEY_NOT_FOUND", "the stream's KMS key does not exist", "create the stream anew with a key that exists"),
    ACK(4507, "STREAM_DELETED", "the stream was deleted during the session", "create it again (kvg provision, or the create option)"),
    ACK(5000, "INTERNAL_ERROR", "the service failed", "nothing: kvg sends the fragment again"),
    ACK(5001, "ARCHIVAL_ERROR", "the service could not store the fragment", "nothing: kvg sends the fragment again"),
    ACK(0, "MIN_FRAGMENT_DURATION_REACHED", "a fragment is too short (its number is not documented)", "set the camera's key-frame interval to 1 s or more"),
    ACK(7000, "UNKNOWN_ERROR", "an error with a number nobody knows; AWS's producer calls all of them 7000", "nothing: kvg sends the fragment again, three times at most"),

    EXCEPTION("ResourceNotFoundException", "the stream or other thing does not exist in this account and region", "check name and region; create it with kvg provision"),
    EXCEPTION("ResourceInUseException", "it exists already, or is being created, updated or deleted", "wait until it is ACTIVE; choose another name to create one"),
    EXCEPTION("InvalidArgumentException", "an argument is missing or has a value that is not allowed", "correct what the message names"),
    EXCEPTION("ClientLimitExceededException", "too many calls in a short time, or more fragments a second than five", "nothing: kvg calls more slowly; look for other clients of the account"),
    EXCEPTION("ConnectionLimitExceededException", "more connections to the stream than allowed", "look for a second producer of the same stream"),
    EXCEPTION("AccountStreamLimitExceededException", "the account has as many streams as allowed", "delete streams, or have the quota raised"),
    EXCEPTION("DeviceStreamLimitExceededException", "the device has as many streams as allowed", "use one stream for each camera"),
    EXCEPTION("NotAuthorizedException", "the caller may not do this", "allow the action in the caller's IAM policy; the message names both"),
    EXCEPTION("AccessDeniedException", "no policy of the caller allows the action on the resource, or one denies it", "allow it in the caller's IAM policy; a camera may only reach the stream with its own thing's name"),
    EXCEPTION("UnauthorizedException", "the caller may not do this", "allow the action in the caller's IAM or IoT policy"),
    EXCEPTION("ForbiddenException", "the caller may not use this resource", "allow it in the certificate's IoT policy"),
    EXCEPTION("InvalidSignatureException", "the signature is wrong, too old, or made for another region or service", "check the secret key, the region and this machine's clock; the message tells which"),
    EXCEPTION("SignatureDoesNotMatch", "the signature is wrong, too old, or made for another region or service (IAM, STS)", "check the secret key, the region and this machine's clock"),
    EXCEPTION("IncompleteSignatureException", "the Authorization header lacks a part", "look for a proxy that changes headers"),
    EXCEPTION("MissingAuthenticationTokenException", "the request was not signed, or the path is not one of the API", "check the endpoint"),
    EXCEPTION("UnrecognizedClientException", "the access key or session token is unknown", "check the keys and that they are of this partition and account; renew temporary ones"),
    EXCEPTION("InvalidClientTokenId", "the access key or session token is unknown (IAM, STS)", "check the keys; renew temporary ones"),
    EXCEPTION("ExpiredTokenException", "the temporary keys have expired", "renew them; kvg renews those of certificates, roles and instances by itself"),
    EXCEPTION("RequestExpired", "the request is older than the service accepts", CLOCK),
    EXCEPTION("InvalidEndpointException", "the call went to an endpoint of another stream or region", "nothing: kvg asks for the endpoint again"),
    EXCEPTION("VersionMismatchException", "somebody changed the stream since its version was read", "run the command again"),
    EXCEPTION("InvalidDeviceException", "the device name is not known", "leave the device name out"),
    EXCEPTION("InvalidResourceFormatException", "an ARN or a name is malformed", "correct it"),
    EXCEPTION("StreamEdgeConfigurationNotFoundException", "the stream has no edge configuration", "nothing, unless you use the Edge Agent"),
    EXCEPTION("TagsPerResourceExceededLimitException", "more than 50 tags on a stream", "remove tags"),
    EXCEPTION("NoDataRetentionException", "the stream keeps no data, so there is nothing to play back", "set its retention to an hour or more"),
    EXCEPTION("MissingCodecPrivateDataException", "a fragment was stored without the codec's parameters, so it cannot be played", "let the camera send SPS and PPS before the first key frame"),
    EXCEPTION("InvalidCodecPrivateDataException", "the codec's parameters in a fragment are damaged", "look at what the camera sends (ffprobe), or let kvg encode it (video:)"),
    EXCEPTION("UnsupportedStreamMediaTypeException", "the stream's codec cannot be played this way", "send H.264 or H.265 with AAC or G.711 audio"),
    EXCEPTION("InvalidMediaFrameException", "a frame in the range cannot be repackaged", "choose another range; look at the camera's stream"),
    EXCEPTION("ThrottlingException", "too many calls in a short time", LATER),
    EXCEPTION("TooManyRequestsException", "too many calls in a short time", LATER),
    EXCEPTION("SlowDown", "too many calls in a short time", LATER),
    EXCEPTION("LimitExceededException", "a quota of the service is reached", "remove what is not needed, or have the quota raised"),
    EXCEPTION("ServiceUnavailableException", "the service cannot serve now", LATER),
    EXCEPTION("InternalFailureException", "the service failed", LATER),
    EXCEPTION("InternalServerErrorException", "the service failed", LATER),
    EXCEPTION("ServiceFailure", "the service failed (IAM)", LATER),
    EXCEPTION("ValidationException", "an argument is missing or malformed", "correct what the message names"),
    EXCEPTION("ValidationError", "an argument is missing or malformed, or a session is asked for longer than the role allows (IAM, STS)", "correct what the message names"),
    EXCEPTION("SerializationException", "the request's body is not the JSON the service expects", "check that nothing in between changes bodies"),
    EXCEPTION("UnknownOperationException", "the service does not know the operation", "check the endpoint and its region"),
    EXCEPTION("InvalidAction", "the service does not know the operation (IAM, STS)", "check the endpoint"),
    EXCEPTION("InvalidRequestException", "a part of the request is not valid (IoT)", "correct what the message names"),
    EXCEPTION("ResourceAlreadyExistsException", "a thing, policy or alias of that name exists with other content", "kvg provision updates what it made; rename or remove the other one"),
    EXCEPTION("ResourceRegistrationFailureException", "the certificate could not be registered", "run kvg provision again"),
    EXCEPTION("ConflictException", "the resource is being changed, or is in use", "run the command again"),
    EXCEPTION("ConflictingResourceUpdateException", "two changes of one resource met", "run the command again"),
    EXCEPTION("DeleteConflictException", "it is still attached to something", "detach policies and things first; kvg destroy does so in order"),
    EXCEPTION("VersionsLimitExceededException", "an IoT policy has five versions", "delete an old version"),
    EXCEPTION("MalformedPolicyException", "the IoT policy document is not valid", "correct the document"),
    EXCEPTION("CertificateStateException", "the certificate is not in a state that allows this", "make it INACTIVE before deleting, ACTIVE before using it"),
    EXCEPTION("CertificateConflictException", "the certificate is registered already", "attach that one, or make a new key"),
    EXCEPTION("CertificateValidationException", "the certificate or CSR is not valid", "make a new one (kvg provision)"),
    EXCEPTION("NoSuchEntity", "the role or policy does not exist (IAM)", PROVISION),
    EXCEPTION("EntityAlreadyExists", "a role or policy of that name exists (IAM)", "kvg provision uses it if it is its own; rename or remove the other one"),
    EXCEPTION("DeleteConflict", "the role still has policies (IAM)", "delete its inline policies and detach the others first; kvg destroy does so in order"),
    EXCEPTION("ConcurrentModification", "two changes of one role met (IAM)", "run the command again"),
    EXCEPTION("UnmodifiableEntity", "a role that AWS manages cannot be changed (IAM)", "use a role of your own"),
    EXCEPTION("InvalidInput", "an argument is not valid (IAM)", "correct what the message names"),
    EXCEPTION("MalformedPolicyDocument", "the policy document is not valid (IAM, STS)", "correct the document"),
    EXCEPTION("PackedPolicyTooLarge", "session policies and tags are too large (STS)", "make them shorter"),
    EXCEPTION("RegionDisabledException", "STS is not activated in this region for the account", "activate it, or use another region"),
    EXCEPTION("InvalidIdentityToken", "the web identity token is not valid for this role (STS)", "check AWS_WEB_IDENTITY_TOKEN_FILE and the role's trust policy"),
    EXCEPTION("IDPRejectedClaim", "the identity provider refused the token (STS)", "renew the token"),
    EXCEPTION("IDPCommunicationError", "STS could not reach the identity provider", LATER),
    EXCEPTION("RequestEntityTooLargeException", "the shadow document is larger than 8 KB (IoT)", "report less, or in several named shadows"),
    EXCEPTION("UnsupportedDocumentEncodingException", "the shadow document is not UTF-8 (IoT)", "send it in UTF-8"),
    EXCEPTION("VersionConflictException", "the shadow has another version than the update names (IoT)", "read the shadow again, then update it"),
    EXCEPTION("MethodNotAllowedException", "the path exists, but not with this method (IoT)", "check the endpoint and the path"),
    EXCEPTION("MissingParameter", "a parameter that is required is missing (IAM, STS)", "add what the message names"),
    EXCEPTION("MissingAction", "the request names no operation (IAM, STS)", "check that nothing in between changes bodies"),
    EXCEPTION("MalformedQueryString", "the request's parameters cannot be read (IAM, STS)", "check that nothing in between changes requests"),
    EXCEPTION("InvalidParameterValue", "a parameter has a value that is not allowed (IAM, STS)", "correct what the message names"),
    EXCEPTION("OptInRequired", "the account has not been activated for this service or region", "activate it in the account's settings"),

    HTTP(301, "Moved Permanently", "something other than the service answered; kvg follows no redirect with keys in hand", "correct the endpoint; look for a captive portal"),
    HTTP(302, "Found", "something other than the service answered; kvg follows no redirect with keys in hand", "correct the endpoint; look for a captive portal"),
    HTTP(400, "Bad Request", "the service does not accept the request", "see the exception in the message: kvg explain NAME"),
    HTTP(401, "Unauthorized", "the caller is not authenticated", "see the exception in the message; check keys and clock"),
    HTTP(403, "Forbidden", "the signature, the keys or the caller's permissions were refused", "see the exception in the message: kvg explain NAME"),
    HTTP(404, "Not Found", "the stream, alias or path does not exist there", "check the name, the region and the endpoint"),
    HTTP(405, "Method Not Allowed", "the endpoint is not the one of this API", "check the endpoint"),
    HTTP(407, "Proxy Authentication Required", "a proxy wants a user and password", "set them in https_proxy"),
    HTTP(408, "Request Timeout", "the service waited too long for the request", LATER),
    HTTP(409, "Conflict", "the resource exists, is in use or is being changed", "see the exception in the message; run the command again"),
    HTTP(411, "Length Required", "something in between does not pass chunked bodies", "let the connection bypass the proxy"),
    HTTP(413, "Content Too Large", "the request is larger than the service takes", "make it smaller; a shadow document has at most 8 KB"),
    HTTP(415, "Unsupported Media Type", "the content type is not the one of this API", "check the endpoint"),
    HTTP(429, "Too Many Requests", "too many calls in a short time", LATER),
    HTTP(431, "Request Header Fields Too Large", "headers are too long, as with a very long session token", "use another source of keys"),
    HTTP(500, "Internal Server Error", "the service failed", LATER),
    HTTP(502, "Bad Gateway", "a proxy in front of the service got no answer from it", LATER),
    HTTP(503, "Service Unavailable", "the service cannot serve now", LATER),
    HTTP(504, "Gateway Timeout", "a proxy in front of the service waited in vain", LATER),
};
/* clang-format on */
const size_t kvg_explain_table_len = G_N_ELEMENTS(kvg_explain_table);
