/* kvg spool export: fragments of a spool as a Matroska file. */
#include "cli/spool.h"
#include "media/mkv_writer.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>

#define WRITE_BYTES (256u * 1024)

typedef struct {
    const char *path; /* NULL: standard output */
    KvgSpoolExport *out;
    KvgFd fd;
    GByteArray *pending;
    int64_t base_ms, cluster_ms;
    bool is_in_fragment;
} Writer;

static void
writer_clear(Writer *writer)
{
    if (writer->path != NULL)
        kvg_fd_clear(&writer->fd);
    g_byte_array_unref(writer->pending);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Writer, writer_clear)

void
kvg_spool_export_clear(KvgSpoolExport *export)
{
    g_clear_pointer(&export->files, g_ptr_array_unref);
}

static bool
flush(Writer *writer, GError **error)
{
    if (writer->pending->len == 0)
        return true;
    if (!kvg_fd_write_all(writer->fd, writer->pending->data, writer->pending->len, error)) {
        g_prefix_error(error, "%s: ", writer->path != NULL ? writer->path : "standard output");
        return false;
    }
    writer->out->n_bytes += writer->pending->len;
    g_byte_array_set_size(writer->pending, 0);
    return true;
}

/* a.mkv, a-2.mkv, a-3.mkv */
static char *
part_name(const char *path, guint part)
{
    if (part == 1)
        return g_strdup(path);
    const char *base = strrchr(path, '/');
    const char *dot = strrchr(base != NULL ? base : path, '.');
    const int stem = (int)(dot != NULL ? (size_t)(dot - path) : strlen(path));
    return g_strdup_printf("%.*s-%u%s", stem, path, part, path + stem);
}

static bool
begin_file(Writer *writer, const KvgSpoolEvent *event, GError **error)
{
    if (!flush(writer, error))
        return false;
    if (writer->path != NULL) {
        g_autofree char *name = part_name(writer->path, writer->out->files->len + 1);
        kvg_fd_clear(&writer->fd);
        writer->fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (writer->fd < 0) {
            g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "cannot create %s: %s", name,
                        g_strerror(errno));
            return false;
        }
        g_ptr_array_add(writer->out->files, g_steal_pointer(&name));
    }
    uint8_t uid[16];
    for (size_t i = 0; i < sizeof uid; i++)
        uid[i] = (uint8_t)g_random_int_range(0, 256);
    g_autoptr(GBytes) header =
        kvg_mkv_write_header(event->tracks, event->n_tracks, uid, "kvg " KVG_VERSION);
    size_t len;
    const void *data = g_bytes_get_data(header, &len);
    g_byte_array_append(writer->pending, data, (guint)len);
    writer->base_ms = -1;
    return true;
}

static void
begin_fragment(Writer *writer, const KvgSpoolEvent *event)
{
    KvgSpoolExport *out = writer->out;
    if (out->n_fragments++ == 0)
        out->first_ms = event->timecode_ms;
    out->last_ms = event->timecode_ms;
    if (writer->base_ms < 0)
        writer->base_ms = event->timecode_ms;
    /* A clock that was set back must not give a time before the beginning. */
    writer->cluster_ms = MAX(event->timecode_ms, writer->base_ms);
    writer->is_in_fragment = true;
    kvg_mkv_write_cluster(writer->pending, (uint64_t)(writer->cluster_ms - writer->base_ms));
}

static bool
put_frame(Writer *writer, const KvgSpoolEvent *event, GError **error)
{
    const KvgFrame *frame = &event->frame;
    const int64_t relative_ms =
        CLAMP(frame->pts_us / 1000 - event->timecode_ms, INT16_MIN, INT16_MAX);
    size_t len;
    const void *data = g_bytes_get_data(frame->data, &len);
    kvg_mkv_write_block_head(writer->pending, frame->track, (int16_t)relative_ms, frame->key, len);
    g_byte_array_append(writer->pending, data, (guint)len);
    writer->out->n_frames++;
    return writer->pending->len < WRITE_BYTES || flush(writer, error);
}

/* False with @error; or without one, if the standard output cannot take what follows. */
static bool
take_event(Writer *writer, const KvgSpoolEvent *event, GError **error)
{
    switch (event->kind) {
    case KVG_SPOOL_TRACKS:
        if (writer->path == NULL && writer->out->n_fragments > 0) {
            writer->out->next_fragment = event->fragment;
            return false;
        }
        return begin_file(writer, event, error);
    case KVG_SPOOL_BEGIN:
        begin_fragment(writer, event);
        break;
    case KVG_SPOOL_FRAME:
        return put_frame(writer, event, error);
    case KVG_SPOOL_END:
    case KVG_SPOOL_GAP:
    case KVG_SPOOL_TAG:
    case KVG_SPOOL_NONE:
        break;
    }
    return true;
}

static bool
write_all(Writer *writer, KvgSpoolReader *reader, GError **error)
{
    for (;;) {
        g_auto(KvgSpoolEvent) event = {0};
        if (!kvg_spool_read(reader, &event, error))
            return false;
        if (event.kind == KVG_SPOOL_NONE)
            return flush(writer, error);
        g_autoptr(GError) failed = NULL;
        if (take_event(writer, &event, &failed))
            continue;
        if (failed == NULL)
            return flush(writer, error);
        g_propagate_error(error, g_steal_pointer(&failed));
        return false;
    }
}

bool
kvg_spool_export(
    KvgSpool *spool, uint64_t from, const char *path, KvgSpoolExport *export, GError **error)
{
    *export = (KvgSpoolExport){.files = g_ptr_array_new_with_free_func(g_free)};
    KvgSpoolFragmentInfo first;
    if (!kvg_spool_peek(spool, from, &first)) {
        g_set_error_literal(error, KVG_ERROR, KVG_ERROR_NOT_FOUND, "there is nothing to export");
        return false;
    }
    g_auto(Writer) writer = {.path = path,
                             .out = export,
                             .fd = path != NULL ? KVG_FD_NONE : STDOUT_FILENO,
                             .pending = g_byte_array_new()};
    g_autoptr(KvgSpoolReader) reader = kvg_spool_reader_new(spool);
    kvg_spool_seek(reader, first.number);
    if (write_all(&writer, reader, error))
        return true;
    if (export->files->len > 0)
        unlink(g_ptr_array_index(export->files, export->files->len - 1));
    return false;
}
