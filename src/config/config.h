/* kvg.yaml: read, checked as a whole, every problem reported at once with line and column. */
#pragma once

#include "config/mode.h"
#include <glib.h>
#include <kvg/spool.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { KVG_RTSP_TCP, KVG_RTSP_UDP, KVG_RTSP_AUTO } KvgRtspTransport;

typedef struct {
    KvgRtspTransport transport;
    uint32_t latency_ms; /* that packets may be late; default 200 */
    char *ca_bundle;     /* of rtsps; NULL: the system's */
    char *certificate;   /* NULL: verified; "insecure"; "sha256:HEX" of the only good one */
} KvgConfigRtsp;

typedef enum { KVG_V4L2_AUTO, KVG_V4L2_H264, KVG_V4L2_RAW, KVG_V4L2_MJPEG } KvgV4l2Format;

typedef struct {
    KvgV4l2Format format;
    uint32_t width, height, fps; /* 0: what suits */
} KvgConfigV4l2;

typedef struct {
    bool loop;
    bool fast;
    char *time; /* of its first picture: NULL: now; "own"; ISO 8601 */
} KvgConfigFile;

typedef struct {
    uint32_t format; /* kvg_config_shm_format() */
    uint32_t width, height, fps;
} KvgConfigShm;
/* GStreamer's name, "I420". Static. */
const char *kvg_config_shm_format(const KvgConfigShm *shm);

typedef struct {
    char *name;
    char *source;   /* "rtsp://...", "file:/...", "test:..." with ${ENV} expanded, paths resolved */
    char *username; /* NULL */
    char *password; /* from `password` or the first line of `password_file`; NULL; secret */
    bool streaming; /* default on */
    bool passthrough; /* video: passthrough (default): encode only what KVS cannot play */
    uint32_t width, height, fps, bitrate_bps; /* encoding; defaults 1280, 720, 0 = source's, 1.5M */
    bool video_auto;                          /* video: auto: also encode H.264 that plays badly */
    bool audio;                               /* default on */
    bool frames;                              /* decoded ones for applications; default off */
    char *encoder;                            /* GStreamer's name; NULL: auto */
    KvgConfigRtsp rtsp;
    KvgConfigV4l2 v4l2;
    KvgConfigFile file;
    KvgConfigShm shm;
    int64_t watch_frames_ms;    /* default 10 s */
    int64_t watch_persisted_ms; /* default 60 s; 0: off */
    uint32_t fragment_ms;    /* 0 (default): a fragment per key frame; encoders make one a second */
    int64_t retention_hours; /* default 24 */
    KvgConfigMode mode;
    char *certificate_path;  /* identity.directory/NAME.cert.pem */
    char *key_path;          /* identity.directory/NAME.private.key */
    unsigned line;           /* in the file */
    char *fingerprint; /* of all that is said about it, secrets included: for comparing only */
} KvgConfigCamera;

#define KVG_CONFIG_WORKERS_AUTO 0u
#define KVG_CONFIG_WORKERS_PER_CAMERA G_MAXUINT

typedef struct {
    char *path;
    char *region;
    char *endpoint;  /* NULL: AWS */
    char *ca_bundle; /* CA file for `endpoint` and for the credentials endpoint; NULL: system */
    char *identity_directory;   /* default: "certs" beside the file */
    char *role_alias;           /* default "KvgCamera" */
    char *credentials_endpoint; /* HOST[:PORT]; NULL for `auto` (DescribeEndpoint at provisioning
                                   time, kept in identity_directory/provision.json) */
    char *mqtt_endpoint;        /* HOST[:PORT]; NULL for `auto`, in the same way */
    char *iam_role;             /* default "KvgCameraRole" */
    char *iot_policy;           /* default "KvgCameraPolicy" */
    char *thing_group;          /* provisioning puts the things into it; NULL */
    GPtrArray *tags;            /* of what provisioning makes: name, value, name, value ... */
    char *spool_path;           /* default "spool" beside the file */
    uint64_t spool_limit_bytes; /* per site, shared evenly by the cameras; default 20GiB, in tier
                                   memory 512MiB */
    KvgSpoolTier spool_tier;    /* default auto */
    int64_t spool_max_age_ms;   /* 0: none (default) */
    char *spool_memory_path;    /* NULL: in /dev/shm */
    char *frames_path;          /* folder of the sockets of cameras with `frames: on` */
    bool live_first;            /* upload.catch_up: default oldest-first */
    uint64_t backlog_bps;       /* upload.bandwidth: per site, shared evenly; 0: no limit */
    char *api_address;          /* default 127.0.0.1 */
    uint16_t api_port;          /* default 8080; 0: any free port */
    unsigned workers;           /* processes, or one of the two above; default auto */
    char *api_token;            /* asked for by console and API; NULL: none; secret */
    char *api_certificate;      /* for HTTPS; NULL: plain HTTP, on loopback only */
    char *api_private_key;      /* goes with it */
    GPtrArray *cameras;         /* KvgConfigCamera, in file order */

    /* for snapshot.h and diff.h */
    GBytes *text;
    GHashTable *files;
    char *fingerprints[8]; /* by KvgConfigScope; NULL beyond */
} KvgConfig;

/* A loaded configuration never changes; who keeps it for longer than a call holds a reference.
 * Thread: any. */
KvgConfig *kvg_config_ref(KvgConfig *config);
void kvg_config_unref(KvgConfig *config); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgConfig, kvg_config_unref)

/* Relative paths are taken from the file's folder. On failure KVG_ERROR_INVALID whose message has
 * one line per problem: "kvg.yaml:12:5: cameras.gate.sorce: unknown key; did you mean 'source'?" */
KvgConfig *kvg_config_load(const char *path, GError **error);
/* Whether a server at @address (IP address or localhost) can be reached from this machine alone. */
bool kvg_config_is_loopback(const char *address);
KvgConfigCamera *kvg_config_find_camera(const KvgConfig *config, const char *name);
