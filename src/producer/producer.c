/* The public producer: fragmenter, spool and upload of each camera behind one handle. */
#include <kvg/producer.h>

#include "aws/client.h"
#include "base/clock.h"
#include "base/text.h"
#include "os/log.h"
#include "producer/fragmenter.h"
#include "producer/metadata.h"
#include "putmedia/uploader.h"
#include "spool/spool.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define LOG_DOMAIN "kvg-producer"
#define MAX_FRAME_BYTES (50u * 1000 * 1000)
#define DEFAULT_GATHER_US 50000
/* Ends of fragments remembered to tell how long their acknowledgement took. */
#define N_ENDS 64
/* For the polite end of a session that has nothing left to say. */
#define FAREWELL_MS 1000

struct _KvgProducer {
    char *spool_path, *spool_memory_path;
    KvgUploader *uploader;
    _Atomic unsigned n_streams;
};

struct _KvgStream {
    KvgProducer *producer;
    char *name;
    KvgStreamNotify notify;
    KvgStreamAckNotify ack_notify;
    void *user_data;
    bool holds;
    KvgSpool *spool;
    _Atomic(KvgUpload *) upload; /* NULL until the stream is built whole */

    struct { /* the thread that puts frames */
        KvgFragmenter fragmenter;
        bool has_loss; /* a frame could not be kept: the rest of its GOP is lost with it */
        bool said_forced, said_full;
        bool is_quiet; /* the head of a fragment is not worth a wake: its first frame follows */
        uint64_t open_fragment; /* 0: none */
        KvgMetadata metadata;
    } mine;

    pthread_mutex_t lock; /* protects `shared`; held for copies only */
    struct {
        uint64_t frames_put, bytes_put, frames_before_key, fragments_put, metadata_put;
        uint64_t frames_invalid, frames_full; /* dropped */
        uint64_t timestamps_repaired;
        int64_t last_ack_latency_ms;
        struct {
            uint64_t fragment;
            int64_t mono_us;
        } ends[N_ENDS];
    } shared;
};

const char *
kvg_stream_state_to_string(KvgStreamState state)
{
    switch (state) {
    case KVG_STREAM_CONNECTING:
        return "connecting";
    case KVG_STREAM_STREAMING:
        return "streaming";
    case KVG_STREAM_WAITING:
        return "waiting";
    case KVG_STREAM_CLOSED:
        return "closed";
    case KVG_STREAM_HOLDING:
        return "holding";
    }
    return "unknown";
}

const char *
kvg_stream_end_to_string(KvgStreamEnd end)
{
    static const char *const names[KVG_STREAM_N_ENDS] = {
        [KVG_STREAM_END_ROTATED] = "rotated",   [KVG_STREAM_END_TRACKS] = "tracks",
        [KVG_STREAM_END_TIMECODE] = "timecode", [KVG_STREAM_END_IDLE] = "idle",
        [KVG_STREAM_END_BACKLOG] = "backlog",   [KVG_STREAM_END_CLOSED] = "closed",
        [KVG_STREAM_END_LOST] = "lost",         [KVG_STREAM_END_REFUSED] = "refused",
        [KVG_STREAM_END_ERROR] = "error",       [KVG_STREAM_END_STALE] = "stale",
        [KVG_STREAM_END_SERVICE] = "service",
    };
    return (unsigned)end < KVG_STREAM_N_ENDS ? names[end] : "unknown";
}

/* ---- producer ---- */

KvgProducer *
kvg_producer_new(const KvgProducerOptions *options, GError **error)
{
    g_return_val_if_fail(options != NULL, NULL);
    if (options->region == NULL || *options->region == '\0') {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, "no region was given");
        return NULL;
    }
    if (options->spool_path == NULL || *options->spool_path == '\0') {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_INVALID, "no spool folder was given");
        return NULL;
    }
    g_autofree char *base_url =
        kvg_aws_base_url("kinesisvideo", options->region, options->endpoint);
    const KvgUploaderOptions upload = {
        .region = options->region,
        .base_url = base_url,
        .ca_path = options->ca_path,
        .user_agent = options->user_agent != NULL ? options->user_agent : "kvg/" KVG_VERSION,
        .backlog_bps = options->backlog_bps};
    KvgUploader *uploader = kvg_uploader_start(&upload, error);
    if (uploader == NULL)
        return NULL;
    KvgProducer *producer = g_new0(KvgProducer, 1);
    producer->spool_path = g_strdup(options->spool_path);
    producer->spool_memory_path = g_strdup(options->spool_memory_path);
    producer->uploader = uploader;
    return producer;
}

void
kvg_producer_free(KvgProducer *producer)
{
    if (producer == NULL)
        return;
    g_return_if_fail(atomic_load(&producer->n_streams) == 0);
    kvg_uploader_stop(producer->uploader);
    g_free(producer->spool_path);
    g_free(producer->spool_memory_path);
    g_free(producer);
}

/* ---- callbacks of spool and uploader ---- */

static void
on_spool_data(void *user_data)
{
    KvgStream *stream = user_data;
    KvgUpload *upload = atomic_load(&stream->upload);
    if (upload != NULL && !stream->mine.is_quiet)
        kvg_upload_wake(upload);
}

static KvgStreamState
public_state(const KvgStream *stream, KvgSessionState state)
{
    switch (state) {
    case KVG_SESSION_STREAMING:
    case KVG_SESSION_DRAINING:
        return KVG_STREAM_STREAMING;
    case KVG_SESSION_WAITING:
        return KVG_STREAM_WAITING;
    case KVG_SESSION_CLOSED:
        return KVG_STREAM_CLOSED;
    case KVG_SESSION_IDLE:
    case KVG_SESSION_READY:
        return stream->holds ? KVG_STREAM_HOLDING : KVG_STREAM_CONNECTING;
    case KVG_SESSION_KEYS:
    case KVG_SESSION_DESCRIBE:
    case KVG_SESSION_CREATE:
    case KVG_SESSION_ENDPOINT:
    case KVG_SESSION_CONNECT:
        break;
    }
    return KVG_STREAM_CONNECTING;
}

static void
on_upload_state(KvgSessionState state, const char *reason, void *user_data)
{
    KvgStream *stream = user_data;
    if (stream->notify != NULL)
        stream->notify(stream, public_state(stream, state), reason, stream->user_data);
}

static void
on_upload_persisted(uint64_t fragment, void *user_data)
{
    KvgStream *stream = user_data;
    if (stream->holds) /* it may have waited for hours to be asked for */
        return;
    const int64_t now_us = kvg_clock_mono_us();
    pthread_mutex_lock(&stream->lock);
    const size_t slot = fragment % N_ENDS;
    if (stream->shared.ends[slot].fragment == fragment)
        stream->shared.last_ack_latency_ms = (now_us - stream->shared.ends[slot].mono_us) / 1000;
    pthread_mutex_unlock(&stream->lock);
}

static void
on_upload_ack(const KvgAck *ack, void *user_data)
{
    static const KvgStreamAckType types[] = {[KVG_ACK_BUFFERING] = KVG_STREAM_ACK_BUFFERING,
                                             [KVG_ACK_RECEIVED] = KVG_STREAM_ACK_RECEIVED,
                                             [KVG_ACK_PERSISTED] = KVG_STREAM_ACK_PERSISTED,
                                             [KVG_ACK_ERROR] = KVG_STREAM_ACK_ERROR,
                                             [KVG_ACK_IDLE] = KVG_STREAM_ACK_IDLE};
    KvgStream *stream = user_data;
    if ((unsigned)ack->type >= G_N_ELEMENTS(types))
        return;
    const KvgStreamAck told = {.type = types[ack->type],
                               .timecode_ms = ack->timecode_ms,
                               .fragment_number = ack->fragment_number,
                               .error_id = ack->error_id,
                               .error_code = ack->error_code};
    stream->ack_notify(stream, &told, stream->user_data);
}

/* ---- open ---- */

static void
free_stream(KvgStream *stream)
{
    kvg_spool_close(stream->spool);
    kvg_metadata_clear(&stream->mine.metadata);
    kvg_fragmenter_clear(&stream->mine.fragmenter);
    pthread_mutex_destroy(&stream->lock);
    g_free(stream->name);
    g_free(stream);
}

static bool
check_options(const KvgStreamOptions *options, GError **error)
{
    /* Names of dots would leave the spool's folder. */
    if (options->name == NULL || !kvg_name_is_stream(options->name) || options->name[0] == '.') {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "stream name '%s': 1 to 256 of letters, digits, '_', '.', '-', not starting "
                    "with '.'",
                    options->name != NULL ? options->name : "");
        return false;
    }
    if (options->credentials == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "stream '%s': no credentials were given",
                    options->name);
        return false;
    }
    return true;
}

KvgStream *
kvg_producer_open_stream(KvgProducer *producer, const KvgStreamOptions *options, GError **error)
{
    g_return_val_if_fail(producer != NULL && options != NULL, NULL);
    if (!check_options(options, error))
        return NULL;
    KvgStream *stream = g_new0(KvgStream, 1);
    pthread_mutex_init(&stream->lock, NULL);
    stream->producer = producer;
    stream->name = g_strdup(options->name);
    stream->notify = options->notify;
    stream->ack_notify = options->ack_notify;
    stream->user_data = options->user_data;
    stream->holds = options->hold;
    g_autofree char *path = g_build_filename(producer->spool_path, options->name, NULL);
    g_autofree char *memory_path =
        kvg_spool_memory_folder(producer->spool_memory_path, producer->spool_path, options->name);
    const KvgSpoolOptions spool = {.path = path,
                                   .memory_path = memory_path,
                                   .tier = options->spool_tier,
                                   .limit_bytes = options->spool_limit_bytes,
                                   .max_age_ms = options->spool_max_age_ms,
                                   .hold = options->hold,
                                   .keep_ms = options->hold_keep_ms,
                                   .on_data = on_spool_data,
                                   .user_data = stream};
    stream->spool = kvg_spool_open(&spool, error);
    if (stream->spool == NULL) {
        g_prefix_error(error, "stream '%s': ", options->name);
        free_stream(stream);
        return NULL;
    }
    kvg_fragmenter_init(&stream->mine.fragmenter, options->fragment_by_time,
                        options->fragment_duration_ms, 0);
    const KvgUploadOptions upload = {
        .name = options->name,
        .credentials = options->credentials,
        .spool = stream->spool,
        .create = options->create,
        .retention_hours = options->retention_hours,
        .media_type = options->media_type != NULL ? options->media_type : "video/h264",
        .gather_us = options->gather_us != 0 ? options->gather_us : DEFAULT_GATHER_US,
        .live_first = options->catch_up == KVG_CATCH_UP_LIVE_FIRST,
        .holds = options->hold,
        .backlog_bps = options->backlog_bps,
        .stale_us = options->stale_ms * INT64_C(1000),
        .pause_us = options->pause_ms * INT64_C(1000),
        .on_state = on_upload_state,
        .on_persisted = on_upload_persisted,
        .on_ack = options->ack_notify != NULL ? on_upload_ack : NULL,
        .user_data = stream};
    atomic_store(&stream->upload, kvg_uploader_add(producer->uploader, &upload));
    atomic_fetch_add(&producer->n_streams, 1);
    return stream;
}

/* ---- frames ---- */

static bool
put_stand_ins(KvgStream *stream, GError **error)
{
    KvgFrame frame;
    while (kvg_fragmenter_take_stand_in(&stream->mine.fragmenter, &frame)) {
        if (!kvg_spool_put_frame(stream->spool, &frame, error))
            return false;
    }
    return true;
}

static bool
end_fragment(KvgStream *stream, GError **error)
{
    if (stream->mine.open_fragment == 0)
        return true;
    if (!put_stand_ins(stream, error))
        return false;
    const uint64_t fragment = stream->mine.open_fragment;
    stream->mine.open_fragment = 0;
    pthread_mutex_lock(&stream->lock);
    const size_t slot = fragment % N_ENDS;
    stream->shared.ends[slot].fragment = fragment;
    stream->shared.ends[slot].mono_us = kvg_clock_mono_us();
    stream->shared.fragments_put++;
    pthread_mutex_unlock(&stream->lock);
    return kvg_spool_end_fragment(stream->spool, error);
}

static bool
begin_fragment(KvgStream *stream, int64_t timecode_ms, GError **error)
{
    stream->mine.is_quiet = true;
    const bool ok =
        end_fragment(stream, error) && kvg_spool_begin_fragment(stream->spool, timecode_ms, error);
    stream->mine.is_quiet = false;
    if (!ok)
        return false;
    KvgSpoolStats stats;
    kvg_spool_get_stats(stream->spool, &stats);
    stream->mine.open_fragment = stats.newest_fragment;
    if (stream
            ->holds) /* its frames tell nobody; but a session may have ended with the one before */
        kvg_upload_wake(atomic_load(&stream->upload));
    return true;
}

bool
kvg_stream_set_tracks(KvgStream *stream, const KvgTrack *tracks, size_t n_tracks, GError **error)
{
    g_return_val_if_fail(stream != NULL && tracks != NULL, false);
    if (n_tracks == 0 || n_tracks > KVG_FRAGMENTER_TRACKS) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "stream '%s': %zu tracks; the service takes 1 to %d", stream->name, n_tracks,
                    KVG_FRAGMENTER_TRACKS);
        return false;
    }
    for (size_t i = 0; i < n_tracks; i++) {
        if (tracks[i].number == 0 || tracks[i].codec_id == NULL) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                        "stream '%s': track %zu has no number or no codec", stream->name, i + 1);
            return false;
        }
    }
    kvg_fragmenter_break(&stream->mine.fragmenter);
    if (!end_fragment(stream, error))
        return false;
    if (!kvg_spool_put_tracks(stream->spool, tracks, n_tracks, error))
        return false;
    stream->mine.has_loss = false;
    return kvg_fragmenter_set_tracks(&stream->mine.fragmenter, tracks, n_tracks);
}

static void
count_frame(KvgStream *stream, uint64_t *counter, size_t bytes)
{
    pthread_mutex_lock(&stream->lock);
    (*counter)++;
    stream->shared.bytes_put += bytes;
    stream->shared.timestamps_repaired = stream->mine.fragmenter.repaired;
    pthread_mutex_unlock(&stream->lock);
}

static bool
check_frame(KvgStream *stream, const KvgFrame *frame, GError **error)
{
    const size_t len = frame->data != NULL ? g_bytes_get_size(frame->data) : 0;
    if (len == 0 || len > MAX_FRAME_BYTES) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "stream '%s': frame of %zu bytes; 1 to %u are possible", stream->name, len,
                    MAX_FRAME_BYTES);
        return false;
    }
    if (!kvg_fragmenter_has_track(&stream->mine.fragmenter, frame->track)) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "stream '%s': frame of track %u, which was not described", stream->name,
                    frame->track);
        return false;
    }
    return true;
}

/* The spool did not take a frame: what depends on it cannot be decoded either. */
static void
break_gop(KvgStream *stream, const GError *error)
{
    stream->mine.has_loss = true;
    kvg_fragmenter_break(&stream->mine.fragmenter);
    if (!stream->mine.said_full)
        KVG_LOG_WARNING(LOG_DOMAIN, "STREAM", stream->name,
                        "stream '%s': frames are lost until the next key frame: %s", stream->name,
                        error->message);
    stream->mine.said_full = true;
}

static void
say_forced(KvgStream *stream)
{
    if (stream->mine.fragmenter.forced == 0 || stream->mine.said_forced)
        return;
    stream->mine.said_forced = true;
    KVG_LOG_WARNING(LOG_DOMAIN, "STREAM", stream->name,
                    "stream '%s': no key frame for %d s; fragments begin without one, and players "
                    "can start only at some of them",
                    stream->name, KVG_FRAGMENT_MAX_MS / 1000);
}

/* Metadata that waited for this fragment. It is not worth refusing a frame for. */
static void
label_fragment(KvgStream *stream)
{
    KvgMetadata *metadata = &stream->mine.metadata;
    for (unsigned i = 0; i < metadata->n_tags; i++) {
        g_autoptr(GError) error = NULL;
        const KvgMetadataTag *tag = &metadata->tags[i];
        if (!kvg_spool_put_tag(stream->spool, tag->name, tag->value, &error))
            KVG_LOG_WARNING(LOG_DOMAIN, "STREAM", stream->name,
                            "stream '%s': metadata '%s' is lost: %s", stream->name, tag->name,
                            error->message);
    }
    kvg_metadata_begun(metadata);
}

static bool
spool_frame(KvgStream *stream, const KvgFrame *frame, KvgFragmenterVerdict verdict, GError **error)
{
    if (verdict == KVG_FRAGMENTER_BEGIN &&
        !begin_fragment(stream, stream->mine.fragmenter.timecode_ms, error))
        return false;
    if (!kvg_spool_put_frame(stream->spool, frame, error))
        return false;
    if (verdict == KVG_FRAGMENTER_BEGIN)
        label_fragment(stream);
    return true;
}

bool
kvg_stream_put_frame(KvgStream *stream, const KvgFrame *frame, GError **error)
{
    g_return_val_if_fail(stream != NULL && frame != NULL, false);
    if (!check_frame(stream, frame, error)) {
        count_frame(stream, &stream->shared.frames_invalid, 0);
        return false;
    }
    KvgFrame repaired = *frame;
    const KvgFragmenterVerdict verdict = kvg_fragmenter_put(&stream->mine.fragmenter, &repaired);
    if (verdict == KVG_FRAGMENTER_LEAVE_OUT) {
        count_frame(stream,
                    stream->mine.has_loss ? &stream->shared.frames_full
                                          : &stream->shared.frames_before_key,
                    0);
        return true;
    }
    say_forced(stream);
    g_autoptr(GError) failed = NULL;
    if (!spool_frame(stream, &repaired, verdict, &failed)) {
        break_gop(stream, failed);
        count_frame(stream, &stream->shared.frames_full, 0);
        g_propagate_prefixed_error(error, g_steal_pointer(&failed), "stream '%s': ", stream->name);
        return false;
    }
    stream->mine.has_loss = false;
    stream->mine.said_full = false;
    count_frame(stream, &stream->shared.frames_put, g_bytes_get_size(frame->data));
    kvg_upload_note_put(atomic_load(&stream->upload), g_bytes_get_size(frame->data));
    return true;
}

static bool
put_metadata(
    KvgStream *stream, const char *name, const char *value, bool persistent, GError **error)
{
    KvgMetadata *metadata = &stream->mine.metadata;
    const bool is_removal = persistent && *value == '\0';
    const bool is_open = stream->mine.open_fragment != 0;
    if (is_open && !is_removal && metadata->n_open == KVG_METADATA_MAX) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "metadata '%s': this fragment has its %d already", name, KVG_METADATA_MAX);
        return false;
    }
    if ((persistent || !is_open) && !kvg_metadata_keep(metadata, name, value, persistent, error))
        return false;
    if (!is_open || is_removal)
        return true;
    if (!kvg_spool_put_tag(stream->spool, name, value, error))
        return false;
    metadata->n_open++;
    return true;
}

bool
kvg_stream_put_metadata(
    KvgStream *stream, const char *name, const char *value, bool persistent, GError **error)
{
    g_return_val_if_fail(stream != NULL && name != NULL && value != NULL, false);
    if (!kvg_metadata_check(name, value, error) ||
        !put_metadata(stream, name, value, persistent, error)) {
        g_prefix_error(error, "stream '%s': ", stream->name);
        return false;
    }
    pthread_mutex_lock(&stream->lock);
    stream->shared.metadata_put++;
    pthread_mutex_unlock(&stream->lock);
    return true;
}

/* ---- what is held ---- */

bool
kvg_stream_release(KvgStream *stream, const char *id, const KvgTimeRange *range, GError **error)
{
    g_return_val_if_fail(stream != NULL && id != NULL && range != NULL, false);
    if (!stream->holds) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "stream '%s': it holds nothing; all of it is uploaded", stream->name);
        return false;
    }
    if (!kvg_spool_release(stream->spool, id, range, error)) {
        g_prefix_error(error, "stream '%s': ", stream->name);
        return false;
    }
    kvg_upload_wake(atomic_load(&stream->upload));
    return true;
}

KvgRelease *
kvg_stream_list_releases(KvgStream *stream, size_t *n)
{
    return kvg_spool_list_releases(stream->spool, n);
}

KvgTimeRange *
kvg_stream_list_held(KvgStream *stream, size_t *n)
{
    return kvg_spool_list_held(stream->spool, n);
}

/* ---- stats, close ---- */

static void
add_session_stats(KvgStreamStats *stats, const KvgSessionCounts *counts)
{
    G_STATIC_ASSERT(sizeof stats->session_ends == sizeof counts->ends);
    memcpy(stats->session_ends, counts->ends, sizeof counts->ends);
    stats->fragments_resent = counts->fragments_resent;
    stats->acks_buffering = counts->acks[KVG_ACK_BUFFERING];
    stats->acks_received = counts->acks[KVG_ACK_RECEIVED];
    stats->acks_persisted = counts->acks[KVG_ACK_PERSISTED];
    stats->acks_error = counts->acks[KVG_ACK_ERROR];
    stats->acks_idle = counts->acks[KVG_ACK_IDLE];
    stats->last_error_id = counts->last_error_id;
    stats->throttled = counts->throttled;
    stats->failures = counts->failures;
    stats->clock_corrections = counts->clock_corrections;
    stats->connect_ms = counts->connect_ms;
    stats->buffering_latency_ms = counts->buffering_ms;
    stats->received_latency_ms = counts->received_ms;
}

void
kvg_stream_get_stats(KvgStream *stream, KvgStreamStats *stats)
{
    KvgUploadStats upload;
    KvgSpoolStats spool;
    kvg_upload_get_stats(atomic_load(&stream->upload), &upload);
    kvg_spool_get_stats(stream->spool, &spool);
    *stats = (KvgStreamStats){
        .state = public_state(stream, upload.state),
        .frames_persisted = upload.counts.frames_persisted,
        .media_ms_persisted = upload.counts.media_ms_persisted,
        .fragments_persisted = upload.counts.fragments_persisted,
        .bytes_sent = upload.bytes_sent,
        .sessions = upload.counts.sessions,
        .fragments_dropped = spool.evicted_fragments + upload.counts.fragments_refused,
        .frames_not_asked_for = spool.unasked_frames,
        .fragments_not_asked_for = spool.unasked_fragments,
        .spool_bytes = spool.bytes - spool.held_bytes,
        .spool_fragments = spool.n_fragments - spool.held_fragments,
        .held_bytes = spool.held_bytes,
        .held_fragments = spool.held_fragments,
        .spool_damaged = spool.torn_records,
        .spool_failures = spool.n_failures,
        .spool_trouble = kvg_spool_describe_trouble(&spool),
        .first_persisted_mono_us = upload.first_persisted_mono_us,
        .last_persisted_mono_us = upload.last_persisted_mono_us,
        .credentials_expire_wall_ms = upload.credentials_expire_wall_ms,
    };
    g_strlcpy(stats->reason, upload.reason, sizeof stats->reason);
    add_session_stats(stats, &upload.counts);
    stats->clock_offset_ms = upload.clock_offset_ms;
    pthread_mutex_lock(&stream->lock);
    stats->frames_put = stream->shared.frames_put;
    stats->frames_dropped_invalid = stream->shared.frames_invalid;
    stats->frames_dropped_full = stream->shared.frames_full;
    stats->frames_dropped_evicted = spool.evicted_frames;
    stats->frames_dropped_refused = upload.counts.frames_refused;
    stats->frames_dropped = stats->frames_dropped_invalid + stats->frames_dropped_full +
                            stats->frames_dropped_evicted + stats->frames_dropped_refused;
    stats->metadata_put = stream->shared.metadata_put;
    stats->bytes_put = stream->shared.bytes_put;
    stats->frames_before_key = stream->shared.frames_before_key;
    stats->fragments_put = stream->shared.fragments_put;
    stats->timestamps_repaired = stream->shared.timestamps_repaired;
    stats->last_ack_latency_ms = stream->shared.last_ack_latency_ms;
    pthread_mutex_unlock(&stream->lock);
}

static bool
flush_stream(KvgStream *stream, int64_t timeout_ms, GError **error)
{
    KvgSpoolStats spool;
    kvg_spool_get_stats(stream->spool, &spool);
    if (spool.first_wanted == 0) {
        if (timeout_ms > 0)
            kvg_upload_flush(atomic_load(&stream->upload), MIN(timeout_ms, FAREWELL_MS));
        return true;
    }
    if (timeout_ms > 0 && kvg_upload_flush(atomic_load(&stream->upload), timeout_ms))
        return true;
    KvgUploadStats upload;
    kvg_upload_get_stats(atomic_load(&stream->upload), &upload);
    kvg_spool_get_stats(stream->spool, &spool);
    if (spool.first_wanted == 0)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_RETRY,
                "stream '%s': %" G_GUINT64_FORMAT " bytes are not persisted yet and stay in the "
                "spool (%s)",
                stream->name, spool.bytes - spool.held_bytes, upload.reason);
    return false;
}

bool
kvg_stream_end_fragment(KvgStream *stream, GError **error)
{
    g_return_val_if_fail(stream != NULL, false);
    kvg_fragmenter_break(&stream->mine.fragmenter);
    return end_fragment(stream, error);
}

bool
kvg_stream_close(KvgStream *stream, int64_t timeout_ms, GError **error)
{
    if (stream == NULL)
        return true;
    KvgProducer *producer = stream->producer;
    g_autoptr(GError) spool_error = NULL;
    const bool is_ended = kvg_stream_end_fragment(stream, &spool_error);
    bool ok = flush_stream(stream, timeout_ms, error);
    if (ok && !is_ended) {
        g_propagate_error(error, g_steal_pointer(&spool_error));
        ok = false;
    }
    KvgUpload *upload = atomic_exchange(&stream->upload, NULL);
    kvg_upload_remove(upload);
    free_stream(stream);
    atomic_fetch_sub(&producer->n_streams, 1);
    return ok;
}
