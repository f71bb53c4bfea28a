/* How kvg-server and kvg-images speak over two pipes: a job, then its image, one after the other.
 * All numbers are 32 bits, big-endian.
 *
 *   job    magic, codec (1 H.264, 2 H.265), format (1 JPEG, 2 PNG), quality 1..100, width, height
 *          (both 0: as the video is), number of frames, length of codec_private; codec_private;
 *          then per frame: length and bytes. The picture wanted is the last frame in presentation
 *          order, whose index stands before the frames.
 *   image  length and bytes; length 0: the frames cannot be decoded. */
#pragma once

#define KVG_IMAGES_MAGIC 0x4b56494du /* "KVIM" */
#define KVG_IMAGES_HEAD_WORDS 9      /* the above, and the index of the frame wanted */
#define KVG_IMAGES_MAX_FRAMES 20000u
#define KVG_IMAGES_MAX_BYTES (64u * 1024 * 1024)
/* 6,291,456 characters of base64. */
#define KVG_IMAGES_MAX_IMAGE (6291456u / 4 * 3)

enum { KVG_IMAGES_H264 = 1, KVG_IMAGES_H265 = 2 };
enum { KVG_IMAGES_JPEG = 1, KVG_IMAGES_PNG = 2 };
