/* The element's innards, for its two halves: kvssink.c (properties, states, the stream) and pads.c
 * (frames, events). */
#pragma once

#include "plugin/input.h"
#include "plugin/kvssink.h"
#include "plugin/lock.h"
#include "plugin/report.h"
#include "plugin/settings.h"
#include "plugin/writer.h"

GST_DEBUG_CATEGORY_EXTERN(kvs_sink_debug);

#define N_TRACKS 2

typedef struct {
    GstPad *pad;     /* unowned, the element's pad list has it; NULL: not requested */
    KvgInput *input; /* its streaming thread, with the lock */
    bool is_flushing, has_ended;
    uint64_t refused; /* frames in a row that could not be taken */
} SinkPad;

struct _GstKvsSink {
    GstElement parent;

    KvgSinkSettings settings; /* under the object lock */
    KvgHubStream *given;      /* set before use by a program that owns the stream */
    bool is_gone;             /* under the object lock: that program has taken it back */
    bool given_offline;       /* set before use, too: nothing may be dropped */
    uint64_t given_limit_bytes;
    KvgHubStream *stream; /* pointer under the object lock; from READY to PAUSED and back */

    /* Guards `flow`; held while a frame is put. The object lock may be taken inside, never the
     * other way round; no message, signal, query or event goes out while it is held. */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* something in `flow` may let a source go on */
    struct {
        KvgWriter *writer; /* NULL: not started */
        SinkPad pads[N_TRACKS];
        bool eos_posted;
        bool knows_live, is_live;
        bool is_offline;
        bool uses_dts_only;
        bool wants_metrics;
        int64_t begin_us;     /* of what is not live; 0: now, or as the settings say */
        uint64_t limit_bytes; /* offline: of the spool; 0: unknown */
        unsigned n_asked_keys;
        KvgReportMetric metric;
    } flow;
};

/* Templates of the pads, and what makes and unmakes them. */
void kvg_sink_pads_install(GstElementClass *element_class);
/* True if @event was "kvs-add-metadata"; *ok: and its tag was taken. */
bool kvg_sink_take_metadata(GstKvsSink *self, GstEvent *event, bool *ok);
