/* Big-endian, sizes set when the end is known. */
#include "media/mp4_box.h"

#include "base/bytes.h"

guint
kvg_mp4_begin(GByteArray *out, const char type[4])
{
    const guint start = out->len;
    kvg_bytes_put_u32(out, 0);
    kvg_bytes_put(out, type, 4);
    return start;
}

guint
kvg_mp4_begin_full(GByteArray *out, const char type[4], uint8_t version, uint32_t flags)
{
    const guint start = kvg_mp4_begin(out, type);
    kvg_bytes_put_u32(out, (uint32_t)version << 24 | flags);
    return start;
}

void
kvg_mp4_end(GByteArray *out, guint start)
{
    kvg_bytes_set_u32(out, start, out->len - start);
}

void
kvg_mp4_put_zeros(GByteArray *out, unsigned n)
{
    static const uint8_t zeros[64];
    kvg_bytes_put(out, zeros, n);
}

static void
put_matrix(GByteArray *out)
{
    static const uint32_t matrix[] = {0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000};
    for (size_t i = 0; i < G_N_ELEMENTS(matrix); i++)
        kvg_bytes_put_u32(out, matrix[i]);
}

void
kvg_mp4_put_mvhd(GByteArray *out, uint32_t duration, uint32_t next_track)
{
    const guint box = kvg_mp4_begin_full(out, "mvhd", 0, 0);
    kvg_mp4_put_zeros(out, 8);
    kvg_bytes_put_u32(out, 1000);
    kvg_bytes_put_u32(out, duration);
    kvg_bytes_put_u32(out, 0x10000);
    kvg_bytes_put_u16(out, 0x100);
    kvg_mp4_put_zeros(out, 10);
    put_matrix(out);
    kvg_mp4_put_zeros(out, 24);
    kvg_bytes_put_u32(out, next_track);
    kvg_mp4_end(out, box);
}

void
kvg_mp4_put_tkhd(GByteArray *out, const KvgMp4Track *track, uint32_t duration)
{
    const guint box = kvg_mp4_begin_full(out, "tkhd", 0, 3);
    kvg_mp4_put_zeros(out, 8);
    kvg_bytes_put_u32(out, track->number);
    kvg_mp4_put_zeros(out, 4);
    kvg_bytes_put_u32(out, duration);
    kvg_mp4_put_zeros(out, 8 + 2); /* reserved, layer */
    kvg_bytes_put_u16(out, track->is_audio ? 1 : 0);
    kvg_bytes_put_u16(out, track->is_audio ? 0x100 : 0);
    kvg_mp4_put_zeros(out, 2);
    put_matrix(out);
    kvg_bytes_put_u32(out, track->width << 16);
    kvg_bytes_put_u32(out, track->height << 16);
    kvg_mp4_end(out, box);
}

void
kvg_mp4_put_mdhd(GByteArray *out, const KvgMp4Track *track, uint32_t duration)
{
    const guint box = kvg_mp4_begin_full(out, "mdhd", 0, 0);
    kvg_mp4_put_zeros(out, 8);
    kvg_bytes_put_u32(out, track->timescale);
    kvg_bytes_put_u32(out, duration);
    kvg_bytes_put_u16(out, 0x55c4); /* language "und" */
    kvg_bytes_put_u16(out, 0);
    kvg_mp4_end(out, box);
}

void
kvg_mp4_put_hdlr(GByteArray *out, const KvgMp4Track *track)
{
    const guint box = kvg_mp4_begin_full(out, "hdlr", 0, 0);
    kvg_mp4_put_zeros(out, 4);
    kvg_bytes_put(out, track->is_audio ? "soun" : "vide", 4);
    kvg_mp4_put_zeros(out, 12);
    kvg_bytes_put(out, "kvg", 4); /* NUL-terminated */
    kvg_mp4_end(out, box);
}

void
kvg_mp4_put_media_header(GByteArray *out, const KvgMp4Track *track)
{
    const guint header =
        kvg_mp4_begin_full(out, track->is_audio ? "smhd" : "vmhd", 0, track->is_audio ? 0 : 1);
    kvg_mp4_put_zeros(out, track->is_audio ? 4 : 8);
    kvg_mp4_end(out, header);
    const guint dinf = kvg_mp4_begin(out, "dinf");
    const guint dref = kvg_mp4_begin_full(out, "dref", 0, 0);
    kvg_bytes_put_u32(out, 1);
    kvg_mp4_end(out, kvg_mp4_begin_full(out, "url ", 0, 1));
    kvg_mp4_end(out, dref);
    kvg_mp4_end(out, dinf);
}
