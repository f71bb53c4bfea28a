/* Small parts by themselves, one JSON line each: spool, Matroska parser, signatures. */
#include "measure.h"
#include "traffic.h"

#include "media/mkv_parser.h"
#include "media/mkv_writer.h"
#include "os/file.h"
#include "spool/spool.h"
#include "wire/sigv4.h"
#include <stdio.h>
#include <string.h>

#define SPOOL_FRAMES 12000u
#define PARSE_BYTES (400u << 20)
#define PARSE_PIECE 16384u
#define SIGNATURES 20000u

static KvgTraffic traffic = KVG_TRAFFIC_DEFAULTS;

static void
report(const char *bench, const char *unit, double amount, double cpu_s)
{
    printf("{\"bench\":\"%s\",\"%s\":%.1f}\n", bench, unit, amount / cpu_s);
    fflush(stdout);
}

/* ---- spool ---- */

static bool
write_spool(KvgSpool *spool, size_t *bytes, GError **error)
{
    if (!kvg_spool_put_tracks(spool, kvg_traffic_track(), 1, error))
        return false;
    for (uint64_t i = 0; i < SPOOL_FRAMES; i++) {
        const int64_t time_us = 1700000000000000 + kvg_traffic_due_us(&traffic, i, 0);
        const KvgFrame frame = {.track = 1,
                                .key = kvg_traffic_is_key(&traffic, i, 0),
                                .pts_us = time_us,
                                .dts_us = time_us,
                                .data = kvg_traffic_payload(&traffic, i, 0)};
        if (frame.key && !kvg_spool_begin_fragment(spool, time_us / 1000, error))
            return false;
        if (!kvg_spool_put_frame(spool, &frame, error))
            return false;
        *bytes += g_bytes_get_size(frame.data);
    }
    return kvg_spool_end_fragment(spool, error);
}

static bool
read_spool(KvgSpool *spool, size_t *bytes, GError **error)
{
    g_autoptr(KvgSpoolReader) reader = kvg_spool_reader_new(spool);
    for (;;) {
        g_auto(KvgSpoolEvent) event = {0};
        if (!kvg_spool_read(reader, &event, error))
            return false;
        if (event.kind == KVG_SPOOL_NONE)
            return true;
        if (event.kind == KVG_SPOOL_FRAME)
            *bytes += g_bytes_get_size(event.frame.data);
    }
}

static bool
bench_spool(GError **error)
{
    g_autofree char *path = g_dir_make_tmp("kvg-bench-XXXXXX", error);
    if (path == NULL)
        return false;
    g_autoptr(KvgSpool) spool = kvg_spool_open(&(KvgSpoolOptions){.path = path}, error);
    size_t written = 0, read = 0;
    double start_s = kvg_measure_cpu_s();
    bool ok = spool != NULL && write_spool(spool, &written, error);
    if (ok)
        report("spool-write", "mb_per_cpu_s", (double)written / 1e6, kvg_measure_cpu_s() - start_s);
    start_s = kvg_measure_cpu_s();
    ok = ok && read_spool(spool, &read, error);
    if (ok)
        report("spool-read", "mb_per_cpu_s", (double)read / 1e6, kvg_measure_cpu_s() - start_s);
    g_clear_pointer(&spool, kvg_spool_close);
    return kvg_dir_remove(path, ok ? error : NULL) && ok;
}

/* ---- Matroska ---- */

static GByteArray *
make_fragments(void)
{
    const uint8_t uid[16] = {1};
    g_autoptr(GBytes) header = kvg_mkv_write_header(kvg_traffic_track(), 1, uid, "kvg-bench");
    GByteArray *all = g_byte_array_new();
    size_t len;
    const void *data = g_bytes_get_data(header, &len);
    g_byte_array_append(all, data, (guint)len);
    for (uint64_t i = 0; all->len < PARSE_BYTES / 16; i++) {
        GBytes *payload = kvg_traffic_payload(&traffic, i, 0);
        const bool key = kvg_traffic_is_key(&traffic, i, 0);
        const uint64_t time_ms = (uint64_t)kvg_traffic_due_us(&traffic, i, 0) / 1000;
        if (key)
            kvg_mkv_write_cluster(all, time_ms);
        data = g_bytes_get_data(payload, &len);
        kvg_mkv_write_block_head(all, 1, (int16_t)(i % traffic.gop_frames * 33), key, len);
        g_byte_array_append(all, data, (guint)len);
    }
    return all;
}

static bool
bench_parser(GError **error)
{
    g_autoptr(GByteArray) all = make_fragments();
    size_t parsed = 0;
    const double start_s = kvg_measure_cpu_s();
    while (parsed < PARSE_BYTES) {
        g_autoptr(KvgMkvParser) parser = kvg_mkv_parser_new();
        for (size_t at = 0; at < all->len; at += PARSE_PIECE) {
            const size_t n = MIN(PARSE_PIECE, all->len - at);
            KvgMkvEvent event;
            KvgMkvEventKind kind;
            kvg_mkv_parser_put(parser, all->data + at, n);
            while ((kind = kvg_mkv_parser_step(parser, &event, error)) != KVG_MKV_NEED_MORE)
                if (kind == KVG_MKV_FAILED)
                    return false;
            parsed += n;
        }
    }
    report("mkv-parse", "mb_per_cpu_s", (double)parsed / 1e6, kvg_measure_cpu_s() - start_s);
    return true;
}

/* ---- signatures ---- */

static bool
bench_signatures(GError **error)
{
    const KvgHeader headers[] = {{"host", "127.0.0.1:9443"},
                                 {"x-amz-date", "20240520T123456Z"},
                                 {"x-amzn-stream-name", "gate"},
                                 {"x-amzn-fragment-timecode-type", "ABSOLUTE"},
                                 {"x-amzn-fragment-acknowledgment-required", "1"}};
    const KvgSigv4Request request = {.method = "POST",
                                     .path = "/putMedia",
                                     .headers = headers,
                                     .n_headers = G_N_ELEMENTS(headers),
                                     .payload_sha256 = KVG_SIGV4_EMPTY_SHA256,
                                     .amz_date = "20240520T123456Z",
                                     .region = "us-east-1",
                                     .service = "kinesisvideo"};
    const double start_s = kvg_measure_cpu_s();
    for (unsigned i = 0; i < SIGNATURES; i++)
        g_free(kvg_sigv4_authorization(&request, "AKIDEXAMPLE", "secret"));
    report("sigv4", "signatures_per_cpu_s", SIGNATURES, kvg_measure_cpu_s() - start_s);
    return true;
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool (*run)(GError **error);
    } benches[] = {{"spool", bench_spool}, {"mkv", bench_parser}, {"sigv4", bench_signatures}};
    kvg_traffic_payload(&traffic, 0, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(benches); i++) {
        g_autoptr(GError) error = NULL;
        if (argc > 1 && strcmp(argv[1], benches[i].name) != 0)
            continue;
        if (benches[i].run(&error))
            continue;
        fprintf(stderr, "bench-micro: %s: %s\n", benches[i].name,
                error != NULL ? error->message : "failed");
        return 1;
    }
    return 0;
}
