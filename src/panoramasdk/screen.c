/* What stood on the monitor at the appliance's HDMI socket: the media of one put(), tiled, with
 * what the application wrote on them. Served like the frames of a camera, and drawn only while
 * somebody looks. */
#include "frames/server.h"
#include "frames/wire.h"
#include "panoramasdk/sdk.h"
#include <cairo.h>
#include <glib.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define WIDTH 1280
#define HEIGHT 720
#define STRIDE (WIDTH * 3)
/* The newest, one being drawn, and what consumers may hold. */
#define MAX_SLOTS (2 + KVG_FRAMES_MAX_CONSUMERS * KVG_FRAMES_MAX_LEASES)

typedef struct {
    KvgFramesSlot *memory;
    _Atomic bool is_used;
} Slot;

struct _KvgSdkScreen {
    KvgFramesServer *server;
    cairo_surface_t *canvas; /* BGRx */
    Slot slots[MAX_SLOTS];
    uint32_t pool;
    _Atomic bool is_watched;
};

static void
on_demand(bool wanted, void *user_data)
{
    atomic_store(&((KvgSdkScreen *)user_data)->is_watched, wanted);
}

KvgSdkScreen *
kvg_sdk_screen_open(const char *path, GError **error)
{
    KvgSdkScreen *screen = g_new0(KvgSdkScreen, 1);
    screen->pool = kvg_frames_pool_id();
    screen->canvas = cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH, HEIGHT);
    screen->server = kvg_frames_server_start(path, on_demand, screen, error);
    if (screen->server != NULL)
        return screen;
    kvg_sdk_screen_close(screen);
    return NULL;
}

void
kvg_sdk_screen_close(KvgSdkScreen *screen)
{
    if (screen == NULL)
        return;
    kvg_frames_server_stop(screen->server); /* every slot is given back after this */
    for (size_t i = 0; i < MAX_SLOTS; i++)
        kvg_frames_slot_free(screen->slots[i].memory);
    cairo_surface_destroy(screen->canvas);
    g_free(screen);
}

bool
kvg_sdk_screen_is_watched(const KvgSdkScreen *screen)
{
    return atomic_load(&((KvgSdkScreen *)(uintptr_t)screen)->is_watched);
}

/* ---- drawing ---- */

typedef struct {
    int x, y, width, height;
} Box;

/* The place of picture @i of @n, letterboxed in its cell of a grid that is as square as possible.
 */
static Box
place(const KvgSdkPixels *pixels, size_t i, size_t n)
{
    const int columns = (int)ceil(sqrt((double)n));
    const int rows = (int)((n + (size_t)columns - 1) / (size_t)columns);
    const int cell_width = WIDTH / columns, cell_height = HEIGHT / rows;
    const double scale =
        fmin((double)cell_width / pixels->width, (double)cell_height / pixels->height);
    Box box = {.width = MAX((int)(pixels->width * scale), 1),
               .height = MAX((int)(pixels->height * scale), 1)};
    box.x = (int)i % columns * cell_width + (cell_width - box.width) / 2;
    box.y = (int)i / columns * cell_height + (cell_height - box.height) / 2;
    return box;
}

/* Nearest neighbour: this is a look at what goes on, not a recording. */
static void
draw_pixels(KvgSdkScreen *screen, const KvgSdkPixels *from, const Box *box)
{
    uint8_t *canvas = cairo_image_surface_get_data(screen->canvas);
    const int stride = cairo_image_surface_get_stride(screen->canvas);
    for (int y = 0; y < box->height; y++) {
        const uint8_t *row = from->data + (size_t)from->stride *
                                              ((uint64_t)y * from->height / (unsigned)box->height);
        uint8_t *to = canvas + (ptrdiff_t)stride * (box->y + y) + 4 * (ptrdiff_t)box->x;
        for (int x = 0; x < box->width; x++, to += 4) {
            const uint8_t *pixel = row + 3 * ((uint64_t)x * from->width / (unsigned)box->width);
            to[0] = pixel[0];
            to[1] = pixel[1];
            to[2] = pixel[2];
        }
    }
}

static void
draw_mark(cairo_t *cairo, const KvgSdkMark *mark, const Box *box)
{
    const double left = CLAMP(mark->left, 0, 1) * box->width + box->x;
    const double top = CLAMP(mark->top, 0, 1) * box->height + box->y;
    if (mark->text == NULL) {
        const double right = CLAMP(mark->right, 0, 1) * box->width + box->x;
        const double bottom = CLAMP(mark->bottom, 0, 1) * box->height + box->y;
        cairo_rectangle(cairo, left, top, right - left, bottom - top);
        cairo_set_source_rgb(cairo, 1, 0.2, 0.2);
        cairo_stroke(cairo);
        return;
    }
    /* Legible on any ground: white within black. */
    cairo_move_to(cairo, left, top);
    cairo_text_path(cairo, mark->text);
    cairo_set_source_rgb(cairo, 0, 0, 0);
    cairo_stroke_preserve(cairo);
    cairo_set_source_rgb(cairo, 1, 1, 1);
    cairo_fill(cairo);
}

static void
draw(KvgSdkScreen *screen, const KvgSdkTile *tiles, size_t n)
{
    cairo_t *cairo = cairo_create(screen->canvas);
    cairo_set_source_rgb(cairo, 0, 0, 0);
    cairo_paint(cairo);
    cairo_select_font_face(cairo, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
    cairo_set_line_width(cairo, 3);
    for (size_t i = 0; i < n; i++) {
        const Box box = place(&tiles[i].pixels, i, n);
        cairo_surface_flush(screen->canvas);
        draw_pixels(screen, &tiles[i].pixels, &box);
        cairo_surface_mark_dirty(screen->canvas);
        cairo_set_font_size(cairo, CLAMP(box.height / 24, 10, 28));
        cairo_save(cairo);
        cairo_rectangle(cairo, box.x, box.y, box.width, box.height);
        cairo_clip(cairo);
        for (guint j = 0; j < tiles[i].marks->len; j++)
            draw_mark(cairo, &g_array_index(tiles[i].marks, KvgSdkMark, j), &box);
        cairo_restore(cairo);
    }
    cairo_destroy(cairo);
    cairo_surface_flush(screen->canvas);
}

/* ---- giving it away ---- */

static Slot *
free_slot(KvgSdkScreen *screen)
{
    for (size_t i = 0; i < MAX_SLOTS; i++) {
        Slot *slot = &screen->slots[i];
        if (atomic_load(&slot->is_used))
            continue;
        if (slot->memory == NULL)
            slot->memory = kvg_frames_slot_new((size_t)STRIDE * HEIGHT, NULL);
        return slot->memory != NULL ? slot : NULL;
    }
    return NULL;
}

static void
give_back(void *slot)
{
    atomic_store(&((Slot *)slot)->is_used, false);
}

static void
copy_canvas(KvgSdkScreen *screen, uint8_t *to)
{
    const uint8_t *canvas = cairo_image_surface_get_data(screen->canvas);
    const int stride = cairo_image_surface_get_stride(screen->canvas);
    for (int y = 0; y < HEIGHT; y++) {
        const uint8_t *from = canvas + (ptrdiff_t)stride * y;
        for (int x = 0; x < WIDTH; x++, from += 4, to += 3) {
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
        }
    }
}

void
kvg_sdk_screen_show(KvgSdkScreen *screen, const KvgSdkTile *tiles, size_t n)
{
    Slot *slot = free_slot(screen);
    if (slot == NULL)
        return;
    draw(screen, tiles, n);
    copy_canvas(screen, slot->memory->data);
    atomic_store(&slot->is_used, true);
    const KvgFramesPicture picture = {.slot = slot->memory,
                                      .pool = screen->pool,
                                      .width = WIDTH,
                                      .height = HEIGHT,
                                      .stride = STRIDE,
                                      .wall_us = tiles[0].pixels.wall_us};
    kvg_frames_server_publish(screen->server, &picture, slot, give_back);
}
