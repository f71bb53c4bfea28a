#include "frames/pool.h"

typedef struct {
    GstBufferPool parent;
    GstVideoInfo video;
    uint32_t id;
} KvgFramesPool;

typedef struct {
    GstBufferPoolClass parent;
} KvgFramesPoolClass;

GType kvg_frames_pool_get_type(void);
G_DEFINE_TYPE(KvgFramesPool, kvg_frames_pool, GST_TYPE_BUFFER_POOL)

/* What a buffer's memory is marked with. */
typedef struct {
    KvgFramesSlot *slot;
    uint32_t pool;
} Mark;

static GQuark
mark_quark(void)
{
    return g_quark_from_static_string("kvg-frames-slot");
}

static void
mark_free(void *data)
{
    Mark *mark = data;
    kvg_frames_slot_free(mark->slot);
    g_free(mark);
}

static gboolean
set_config(GstBufferPool *base, GstStructure *config)
{
    KvgFramesPool *pool = (KvgFramesPool *)(void *)base;
    GstCaps *caps = NULL;
    if (!gst_buffer_pool_config_get_params(config, &caps, NULL, NULL, NULL) || caps == NULL ||
        !gst_video_info_from_caps(&pool->video, caps))
        return FALSE;
    return GST_BUFFER_POOL_CLASS(kvg_frames_pool_parent_class)->set_config(base, config);
}

static GstFlowReturn
alloc_buffer(GstBufferPool *base, GstBuffer **out, GstBufferPoolAcquireParams *params)
{
    const KvgFramesPool *pool = (const KvgFramesPool *)(void *)base;
    g_autoptr(GError) error = NULL;
    const size_t size = GST_VIDEO_INFO_SIZE(&pool->video);
    KvgFramesSlot *slot = kvg_frames_slot_new(size, &error);
    if (slot == NULL) {
        GST_WARNING_OBJECT(base, "%s", error->message);
        return GST_FLOW_ERROR;
    }
    Mark *mark = g_new(Mark, 1);
    *mark = (Mark){slot, pool->id};
    GstMemory *memory = gst_memory_new_wrapped(0, slot->data, size, 0, size, mark, mark_free);
    gst_mini_object_set_qdata(GST_MINI_OBJECT(memory), mark_quark(), mark, NULL);
    *out = gst_buffer_new();
    gst_buffer_append_memory(*out, memory);
    return GST_FLOW_OK;
}

static void
kvg_frames_pool_class_init(KvgFramesPoolClass *class)
{
    GST_BUFFER_POOL_CLASS(class)->set_config = set_config;
    GST_BUFFER_POOL_CLASS(class)->alloc_buffer = alloc_buffer;
}

static void
kvg_frames_pool_init(KvgFramesPool *pool)
{
    pool->id = kvg_frames_pool_id();
}

GstBufferPool *
kvg_frames_pool_new(void)
{
    return gst_object_ref_sink(g_object_new(kvg_frames_pool_get_type(), NULL));
}

const KvgFramesSlot *
kvg_frames_pool_slot(GstBuffer *buffer, uint32_t *pool)
{
    if (gst_buffer_n_memory(buffer) != 1)
        return NULL;
    GstMemory *memory = gst_buffer_peek_memory(buffer, 0);
    const Mark *mark = gst_mini_object_get_qdata(GST_MINI_OBJECT(memory), mark_quark());
    if (mark == NULL)
        return NULL;
    *pool = mark->pool;
    return mark->slot;
}
