/* The producer: one per process, with the one uploader thread for all its streams. A stream is one
 * camera: frames go into its spool on disk and from there to Kinesis Video Streams. */
#pragma once

#include <kvg/credentials.h>
#include <kvg/error.h>
#include <kvg/frame.h>
#include <kvg/spool.h>

G_BEGIN_DECLS

typedef struct _KvgProducer KvgProducer;
typedef struct _KvgStream KvgStream;

/**
 * KvgProducerOptions: zero is a sensible default where not marked required.
 * @region: required, e.g. "us-east-1"
 * @endpoint: control-plane URL; NULL: https://kinesisvideo.REGION.amazonaws.com
 * @ca_path: CA file (PEM) for control and data plane; NULL: the system's store
 * @spool_path: required: folder of the spool; one folder per stream is made in it
 * @spool_memory_path: folder in tmpfs for the tiers auto and memory; NULL: kvg-UID in /dev/shm
 * @user_agent: prefix of the User-Agent header; NULL: "kvg/VERSION"
 * @backlog_bps: bits per second that all streams together may use to catch up after an outage, on
 *   top of what the cameras deliver meanwhile; 0: no limit
 */
typedef struct {
    const char *region;
    const char *endpoint;
    const char *ca_path;
    const char *spool_path;
    const char *spool_memory_path;
    const char *user_agent;
    uint64_t backlog_bps;
} KvgProducerOptions;

/**
 * kvg_producer_new:
 * @options: copied
 * @error: KVG_ERROR_INVALID naming the option
 *
 * Starts the uploader thread. One per process is enough for any number of streams. NULL on failure;
 * nothing runs then. A spool folder that cannot be used yet is a stream's state, not an error here.
 *
 * Thread: any.
 */
KvgProducer *kvg_producer_new(const KvgProducerOptions *options, GError **error);
/**
 * kvg_producer_free:
 * @producer: (nullable): all its streams have been closed
 *
 * Joins the uploader thread. A program may exit without it: the thread is ended by an exit handler,
 * and what is not persisted then stays in the spool.
 *
 * Thread: any but the uploader's (no callback may call it).
 */
void kvg_producer_free(KvgProducer *producer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgProducer, kvg_producer_free)

typedef enum {
    KVG_STREAM_CONNECTING, /* describing, creating, fetching credentials or endpoint */
    KVG_STREAM_STREAMING,  /* PutMedia is open */
    KVG_STREAM_WAITING,    /* something failed; retrying later, see the reason */
    KVG_STREAM_CLOSED,
    KVG_STREAM_HOLDING, /* frames are kept; nothing is asked for, so nothing is connected */
} KvgStreamState;
/**
 * kvg_stream_state_to_string:
 *
 * A word for people; static. Thread: any.
 */
const char *kvg_stream_state_to_string(KvgStreamState state);

/* Called on the uploader thread at each change of state or reason; must not block.
 * @reason: in words; valid during the call. */
typedef void (*KvgStreamNotify)(KvgStream *stream,
                                KvgStreamState state,
                                const char *reason,
                                void *user_data);

/**
 * KvgStreamAck: an acknowledgement of the service, as it came.
 * @timecode_ms: of the fragment, as sent; 0 for IDLE
 * @fragment_number: decimal digits; "" if the service did not give one
 * @error_id, @error_code: ERROR only; 0 and ""
 */
typedef enum {
    KVG_STREAM_ACK_BUFFERING = 1,
    KVG_STREAM_ACK_RECEIVED,
    KVG_STREAM_ACK_PERSISTED,
    KVG_STREAM_ACK_ERROR,
    KVG_STREAM_ACK_IDLE,
} KvgStreamAckType;
typedef struct {
    KvgStreamAckType type;
    int64_t timecode_ms;
    const char *fragment_number;
    int error_id;
    const char *error_code;
} KvgStreamAck;

/* Called on the uploader thread for each acknowledgement; must not block. @ack: valid during the
 * call. */
typedef void (*KvgStreamAckNotify)(KvgStream *stream, const KvgStreamAck *ack, void *user_data);

/**
 * KvgCatchUp: how the backlog of an outage goes up.
 * @KVG_CATCH_UP_OLDEST_FIRST: in the order recorded; live pictures come when it is done
 * @KVG_CATCH_UP_LIVE_FIRST: the newest at once, the rest behind it in sessions of a few seconds
 * beside the live one (or in turn with it where the service takes one connection only)
 */
typedef enum { KVG_CATCH_UP_OLDEST_FIRST, KVG_CATCH_UP_LIVE_FIRST } KvgCatchUp;

/**
 * KvgStreamOptions:
 * @name: required: KVS stream name
 * @credentials: required; the stream keeps a reference
 * @create: CreateStream if it does not exist
 * @retention_hours: for CreateStream
 * @fragment_duration_ms: 0: 2000; used when @fragment_by_time
 * @fragment_by_time: false: each key frame starts a fragment (those closer than 200 ms share one);
 *   true: a new fragment at the first key frame after @fragment_duration_ms
 * @spool_limit_bytes: 0: 1 GiB, in tier memory 64 MiB; beyond it whole oldest fragments are dropped
 *   and counted
 * @spool_max_age_ms: fragments that wait longer are dropped and counted; 0: no limit
 * @hold: frames wait in the spool until their time is asked for with kvg_stream_release(); nothing
 *   else is sent, and nothing is connected meanwhile. What the spool has from an earlier stream
 *   without it goes up all the same
 * @hold_keep_ms: with @hold: frames that were not asked for are dropped so long after they came; 0:
 *   when the spool's limit is reached. They are counted as not asked for, not as dropped. They stay
 * in memory (tier auto) as long as that has room
 * @spool_tier: where frames wait, see kvg/spool.h
 * @gather_us: 0: 50000; longest time a frame may wait to share a write with others
 * @backlog_bps: as in KvgProducerOptions, for this stream alone
 * @stale_ms: 0: 30000; a session with media under way that hears no acknowledgement for so long is
 *   given up and its media sent again
 * @pause_ms: 0: 3000; a camera that sends nothing for so long gets its fragment ended on the wire
 *   (AWS_KINESISVIDEO_END_OF_FRAGMENT), so that what it sent is persisted and playable
 */
typedef struct {
    const char *name;
    KvgCredentials *credentials;
    bool create;
    uint32_t retention_hours;
    const char *media_type; /* for CreateStream; NULL: "video/h264" */
    uint32_t fragment_duration_ms;
    bool fragment_by_time;
    uint64_t spool_limit_bytes;
    int64_t spool_max_age_ms;
    bool hold;
    int64_t hold_keep_ms;
    KvgSpoolTier spool_tier;
    uint32_t gather_us;
    KvgCatchUp catch_up;
    uint64_t backlog_bps;
    uint32_t stale_ms;
    uint32_t pause_ms;
    KvgStreamNotify notify;
    KvgStreamAckNotify ack_notify; /* NULL: none */
    void *user_data;
} KvgStreamOptions;

/**
 * kvg_producer_open_stream:
 * @options: copied
 * @error: KVG_ERROR_INVALID naming the option, or that the stream is open already in this spool
 *   folder; the spool's own error if it cannot be opened
 *
 * Opens the spool (recovering what an earlier process left) and begins to upload. Does not wait for
 * the network: credentials, stream and service may all be missing, frames are kept until they are
 * there. The stream must be closed before @producer is freed.
 *
 * Thread: any.
 */
KvgStream *
kvg_producer_open_stream(KvgProducer *producer, const KvgStreamOptions *options, GError **error);

/**
 * kvg_stream_set_tracks:
 * @tracks: (array length=n_tracks): copied; video 1, audio 2
 * @error: KVG_ERROR_INVALID naming the track and what is wrong with it; the old ones stay
 *
 * Describes what follows; call before the first frame and whenever codec parameters change. Another
 * description begins a new fragment and a new session.
 *
 * Thread: the one that puts frames. Source: PutMedia API (one Segment per session).
 */
bool kvg_stream_set_tracks(KvgStream *stream,
                           const KvgTrack *tracks,
                           size_t n_tracks,
                           GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * kvg_stream_put_frame:
 * @frame: (transfer none): its data is referenced or copied before the call returns
 * @error: KVG_ERROR_INVALID if the track is unknown or the frame is empty or larger than 50 MB;
 *   KVG_ERROR_NO_SPACE if the spool has no room for it, KVG_ERROR_FAILED if its disk fails
 *
 * Appends @frame to the spool. Never waits for the network. Frames before the first key frame are
 * left out and counted (frames_before_key). On failure nothing was kept and the frame is counted as
 * dropped.
 *
 * Thread: any one thread per stream. Source: PutMedia API; RFC 9559 section 5.1.3 (Cluster).
 */
bool kvg_stream_put_frame(KvgStream *stream,
                          const KvgFrame *frame,
                          GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * kvg_stream_put_metadata:
 * @name: 1 to 128 bytes of UTF-8; not starting with "AWS", except
 * AWS_KINESISVIDEO_IMAGE_GENERATION, AWS_KINESISVIDEO_IMAGE_PREFIX and
 * AWS_KINESISVIDEO_NOTIFICATION
 * @value: at most 256 bytes of UTF-8
 * @persistent: for this fragment and all that follow, until put again; a persistent empty @value
 *   ends that
 * @error: KVG_ERROR_INVALID naming the limit that is broken; nothing was kept then
 *
 * Labels the fragment that is being recorded, or the next one if none is, with @name and @value. A
 * fragment takes nine.
 *
 * Thread: the one that puts frames. Source: Kinesis Video Streams metadata.
 */
bool kvg_stream_put_metadata(KvgStream *stream,
                             const char *name,
                             const char *value,
                             bool persistent,
                             GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * kvg_stream_end_fragment:
 * @error: KVG_ERROR_NO_SPACE or another failure of the spool
 *
 * The camera pauses: ends the fragment that is being recorded, so that it is uploaded and
 * acknowledged without waiting for the next. What follows begins with a key frame. Nothing happens
 * if none is being recorded.
 *
 * Thread: the one that puts frames.
 */
bool kvg_stream_end_fragment(KvgStream *stream, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * kvg_stream_release:
 * @stream: opened with @hold
 * @id: 1 to 64 bytes of UTF-8, by which it is known; a second call with the same one makes the
 * range grow to hold both, as long as it is not done
 * @range: of the frames' times; both ends may lie in the future
 * @error: KVG_ERROR_INVALID; KVG_ERROR_NO_SPACE if 1000 ranges wait to be uploaded
 *
 * Asks for the frames of a range of time: all fragments that have a part in it are uploaded with
 * their own times, those that come later included. It survives the end of the process as soon as
 * @is_stored is set in kvg_stream_list_releases(), which is some milliseconds later.
 *
 * Thread: any.
 */
bool kvg_stream_release(KvgStream *stream,
                        const char *id,
                        const KvgTimeRange *range,
                        GError **error) G_GNUC_WARN_UNUSED_RESULT;

/**
 * kvg_stream_list_releases:
 * @n: (out): how many
 *
 * What was asked for and how far it is, oldest first; g_free(). The last 64 that are done are
 * remembered.
 *
 * Thread: any.
 */
KvgRelease *kvg_stream_list_releases(KvgStream *stream, size_t *n);

/**
 * kvg_stream_list_held:
 * @n: (out): how many
 *
 * The times of what is in the spool, ascending; g_free(). Gaps of up to 1.5 s are none.
 *
 * Thread: any.
 */
KvgTimeRange *kvg_stream_list_held(KvgStream *stream, size_t *n);

/* Why PutMedia sessions ended. The first six are no failures. */
typedef enum {
    KVG_STREAM_END_ROTATED,  /* credentials or the 40 minutes were about to run out */
    KVG_STREAM_END_TRACKS,   /* codec parameters changed */
    KVG_STREAM_END_TIMECODE, /* the next fragment does not follow the last one in time */
    KVG_STREAM_END_IDLE,     /* the camera sent nothing for a while */
    KVG_STREAM_END_BACKLOG,  /* a turn of catching up was over */
    KVG_STREAM_END_CLOSED,   /* the stream was closed */
    KVG_STREAM_END_LOST,     /* connection refused, reset, timed out, TLS failed */
    KVG_STREAM_END_REFUSED,  /* HTTP status of 300 or more */
    KVG_STREAM_END_ERROR,    /* ERROR acknowledgement */
    KVG_STREAM_END_STALE,    /* no acknowledgement in time */
    KVG_STREAM_END_SERVICE,  /* the service ended it without saying why */
} KvgStreamEnd;
#define KVG_STREAM_N_ENDS 11
/**
 * kvg_stream_end_to_string:
 *
 * A word for people; static. Thread: any.
 */
const char *kvg_stream_end_to_string(KvgStreamEnd end);

/**
 * KvgStreamStats: counters since the stream was opened, and gauges. Names carry units: wall_ms are
 * milliseconds since 1970, mono_us those of g_get_monotonic_time().
 */
typedef struct {
    KvgStreamState state;
    char reason[512];
    uint64_t frames_put, bytes_put;
    uint64_t frames_before_key; /* arrived before the first key frame: nothing could decode them */
    uint64_t timestamps_repaired; /* frames whose missing, equal or backward times were changed */
    uint64_t frames_dropped;      /* sum of the four that follow */
    uint64_t frames_dropped_invalid; /* kvg_stream_put_frame() said KVG_ERROR_INVALID */
    uint64_t frames_dropped_full;    /* the spool could not take them, or the frame they need */
    uint64_t frames_dropped_evicted; /* thrown out of a full spool, or unreadable in it */
    uint64_t frames_dropped_refused; /* the service will never take them */
    uint64_t frames_persisted;
    uint64_t media_ms_persisted; /* sum of the durations of persisted fragments */
    uint64_t
        frames_not_asked_for; /* of a stream that holds: dropped without having been asked for */
    uint64_t fragments_not_asked_for;
    uint64_t fragments_put;       /* completed into the spool */
    uint64_t fragments_persisted; /* acknowledged PERSISTED */
    uint64_t fragments_dropped;   /* evicted from a full spool, or refused by the service */
    uint64_t fragments_resent;    /* sent again after a session failed */
    uint64_t metadata_put;
    uint64_t bytes_sent;                      /* request body bytes, resends included */
    uint64_t sessions;                        /* PutMedia calls made */
    uint64_t session_ends[KVG_STREAM_N_ENDS]; /* by KvgStreamEnd */
    uint64_t acks_buffering, acks_received, acks_persisted, acks_error, acks_idle;
    int last_error_id;          /* of the last ERROR acknowledgement; 0: none */
    uint64_t throttled;         /* answers that asked to slow down */
    uint64_t failures;          /* failed calls and sessions of every kind */
    uint64_t clock_corrections; /* signatures refused for this machine's clock, and put right */
    int64_t clock_offset_ms;    /* added to this machine's clock when signing */
    uint64_t spool_bytes;       /* now in the spool, to be uploaded */
    uint64_t spool_fragments;   /* now in the spool, to be uploaded; the open one included */
    uint64_t held_bytes, held_fragments; /* now in the spool, not asked for */
    uint64_t spool_damaged;              /* records of the spool that could not be read back */
    uint64_t spool_failures;             /* calls of disk or memory that failed */
    const char *spool_trouble; /* what is wrong with disk or memory now, static; NULL: nothing */
    int64_t first_persisted_mono_us;    /* 0: none yet */
    int64_t last_persisted_mono_us;     /* 0: none yet */
    int64_t connect_ms;                 /* last session: from the call to its 200 */
    int64_t buffering_latency_ms;       /* first byte of a fragment sent to BUFFERING */
    int64_t received_latency_ms;        /* last byte of a fragment sent to RECEIVED */
    int64_t last_ack_latency_ms;        /* end of fragment spooled to PERSISTED */
    int64_t credentials_expire_wall_ms; /* 0: never or unknown */
} KvgStreamStats;
/**
 * kvg_stream_get_stats:
 * @stats: (out): filled
 *
 * What has become of the frames so far. Takes a lock for a copy only.
 *
 * Thread: any.
 */
void kvg_stream_get_stats(KvgStream *stream, KvgStreamStats *stats);

/**
 * kvg_stream_close:
 * @stream: (nullable): freed in any case
 * @timeout_ms: the longest to wait; 0: do not
 * @error: KVG_ERROR_RETRY: not everything was persisted in time; it stays in the spool for the next
 *   open. Or the spool's own error, if the last fragment could not be ended
 *
 * Ends the open fragment and waits until everything is PERSISTED. No callback comes after it
 * returns.
 *
 * Thread: any but the uploader's, when no other thread uses @stream any more.
 */
bool kvg_stream_close(KvgStream *stream, int64_t timeout_ms, GError **error);

G_END_DECLS
