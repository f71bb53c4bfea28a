/* What each operation of the control plane takes; see shape.h. */
#pragma once

#include "server/control/shape.h"

extern const KvgShape kvg_input_create_stream, kvg_input_list_streams, kvg_input_stream,
    kvg_input_update_stream, kvg_input_update_retention, kvg_input_delete_stream,
    kvg_input_data_endpoint;
extern const KvgShape kvg_input_tag_stream, kvg_input_untag_stream, kvg_input_list_stream_tags,
    kvg_input_tag_resource, kvg_input_untag_resource, kvg_input_list_resource_tags;
extern const KvgShape kvg_input_update_image, kvg_input_update_notification,
    kvg_input_update_storage, kvg_input_mapped_resource, kvg_input_media_storage,
    kvg_input_update_media_storage;
extern const KvgShape kvg_input_start_edge, kvg_input_list_edge;

/* Of ARNs of the service; the tag operations look at it by themselves. */
extern const KvgShape kvg_shape_arn;
