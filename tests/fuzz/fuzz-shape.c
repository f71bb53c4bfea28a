/* A request of the control plane: JSON that means no harm to anything it is checked against. */
#include "fuzz.h"

#include "server/control/model.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const KvgShape *const inputs[] = {
        &kvg_input_create_stream, &kvg_input_list_streams,   &kvg_input_update_retention,
        &kvg_input_tag_stream,    &kvg_input_untag_stream,   &kvg_input_tag_resource,
        &kvg_input_update_image,  &kvg_input_update_storage, &kvg_input_start_edge,
    };
    g_autoptr(json_t) value = kvg_json_parse_object(data, size, NULL);
    for (size_t i = 0; value != NULL && i < G_N_ELEMENTS(inputs); i++) {
        g_autofree char *message = NULL;
        const KvgShapeResult result = kvg_shape_check(inputs[i], value, &message);
        g_assert((result == KVG_SHAPE_FITS) == (message == NULL));
    }
    return 0;
}
